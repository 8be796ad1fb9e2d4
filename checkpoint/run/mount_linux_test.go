package run

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountPointStays needs the right to mount; without it the check is tested
// on what differs: the device.
func TestMountPointStays(t *testing.T) {
	dir := copyRun(t, "trainer-full-all")
	mount := filepath.Join(dir, "checkpoint-10", "mounted")
	require.NoError(t, os.Mkdir(mount, 0o755))
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("SKIPPED, mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(mount, 0)) })
	require.NoError(t, os.WriteFile(filepath.Join(mount, "precious"), []byte("x"), 0o644))
	age(t, dir)
	p, err := PlanRotation(t.Context(), dir, &RotateOptions{Limit: 3})
	require.NoError(t, err)
	_, err = p.Apply(t.Context(), nil)
	require.ErrorContains(t, err, "mount point")
	require.FileExists(t, filepath.Join(mount, "precious"))
	require.FileExists(t, filepath.Join(dir, "checkpoint-10", "model.safetensors"))
}
