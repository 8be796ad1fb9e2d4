//go:build darwin || freebsd

package run

import "golang.org/x/sys/unix"

func freeOf(st *unix.Statfs_t) int64 { return int64(st.Bavail) * int64(st.Bsize) }
