//go:build !unix

package atomicfile

// syncDir does nothing: Windows has no sync for directories, and its rename is
// durable with the volume's journal.
func syncDir(string) error { return nil }
