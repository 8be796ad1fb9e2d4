// Command gate is a service that does not become ready on a bad checkpoint: it
// answers /healthz at once, and /readyz with 200 only after the checkpoint it is
// to serve was found valid. With a bad one it says why and exits with status 1,
// so that an orchestrator keeps the old version running.
//
//	go run ./examples/gate -checkpoint outputs/run/checkpoint-100
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
)

func main() {
	dir := flag.String("checkpoint", "", "checkpoint directory to serve")
	base := flag.String("base", "", "base model of an adapter")
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *addr, *dir, *base); err != nil {
		log.Fatal(err)
	}
}

// serve runs the service until ctx ends or the checkpoint turns out to be bad.
func serve(ctx context.Context, addr, dir, base string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g := &gate{}
	server := &http.Server{Addr: addr, Handler: g, ReadHeaderTimeout: 5 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.open(ctx, dir, base); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		grace, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		_ = server.Shutdown(grace)
	})
	err := server.ListenAndServe()
	cancel(err) // the first cause counts
	wg.Wait()   // ListenAndServe returns as soon as the shutdown begins
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// A gate is the service. The zero value is not ready.
type gate struct {
	ready atomic.Bool
}

// open checks the checkpoint and opens the gate if it is valid. Only headers and
// configs are read, so this takes milliseconds whatever the model's size.
func (g *gate) open(ctx context.Context, dir, base string) error {
	err := checkpoint.Check(ctx, dir, &checkpoint.ValidateOptions{Base: base, RequireConfig: true})
	var invalid *checkpoint.InvalidError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("refusing to serve: %w", err) // what is wrong, and what to do
	case err != nil:
		return fmt.Errorf("cannot check %s: %w", dir, err)
	}
	g.ready.Store(true)
	return nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/healthz":
		fmt.Fprintln(w, "alive")
	case r.URL.Path == "/readyz" && g.ready.Load():
		fmt.Fprintln(w, "ready")
	case r.URL.Path == "/readyz":
		http.Error(w, "checking the checkpoint", http.StatusServiceUnavailable)
	case !g.ready.Load():
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "a model would answer here")
	}
}
