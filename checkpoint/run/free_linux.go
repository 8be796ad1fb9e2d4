package run

import "golang.org/x/sys/unix"

// freeOf: Linux counts blocks in fragments (Frsize) where it has them; Bsize is
// the size that is best for reading.
func freeOf(st *unix.Statfs_t) int64 {
	size := int64(st.Frsize)
	if size == 0 {
		size = int64(st.Bsize)
	}
	return int64(st.Bavail) * size
}
