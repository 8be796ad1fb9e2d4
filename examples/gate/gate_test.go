package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/checkpoint/checkpointtest"
	"github.com/safeckpt/safeckpt/diag"
)

const good = "../safeckpt/sample/full/checkpoint-20"

func status(g *gate, path string) int {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

func TestGateOpensOnAValidCheckpoint(t *testing.T) {
	g := &gate{}
	require.Equal(t, http.StatusOK, status(g, "/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, status(g, "/readyz"))
	require.NoError(t, g.open(t.Context(), good, ""))
	require.Equal(t, http.StatusOK, status(g, "/readyz"))
}

func TestGateStaysShutOnABadCheckpoint(t *testing.T) {
	g := &gate{}
	bad := checkpointtest.Damaged(t, good, checkpointtest.Truncate("model.safetensors", 0.5))
	err := g.open(t.Context(), bad, "")
	require.ErrorIs(t, err, diag.FileTruncated)
	require.ErrorContains(t, err, "refusing to serve")
	require.Equal(t, http.StatusServiceUnavailable, status(g, "/readyz"))
	require.Equal(t, http.StatusServiceUnavailable, status(g, "/"))
}

func TestServeEndsOnABadCheckpoint(t *testing.T) {
	err := serve(t.Context(), "127.0.0.1:0", t.TempDir(), "")
	require.ErrorIs(t, err, diag.NotACheckpoint)
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, serve(ctx, "127.0.0.1:0", good, ""))
}
