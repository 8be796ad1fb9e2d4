package directio

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// PlaceOf returns where the data of an open file lies.
func PlaceOf(f *os.File) Place {
	conn, err := f.SyscallConn()
	if err != nil {
		return Other
	}
	var st unix.Statfs_t
	var statErr error
	err = conn.Control(func(fd uintptr) { statErr = unix.Fstatfs(int(fd), &st) })
	if err != nil || statErr != nil {
		return Other
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return Disk
	case unix.NFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, cifs, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return Remote
	}
	return Other
}

const cifs = 0xff534d42 // linux/magic.h: CIFS_SUPER_MAGIC

// Reopen opens the file that f is once more, with the flags of os.OpenFile, for
// reads or writes past the page cache.
func Reopen(f *os.File, flag int) (*os.File, error) {
	// The name may lead elsewhere by now.
	name := "/proc/self/fd/" + strconv.FormatUint(uint64(f.Fd()), 10)
	direct, err := os.OpenFile(name, flag|unix.O_DIRECT, 0)
	runtime.KeepAlive(f)
	return direct, err
}

// cached reports whether the page cache has most of these bytes of f, or some that
// the disk does not have yet. If the kernel does not tell (before 6.5, and of others'
// files), they count as cached.
func cached(f *os.File, off, n int64) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return true
	}
	var stat unix.Cachestat_t
	var statErr error
	err = conn.Control(func(fd uintptr) {
		statErr = unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	})
	if err != nil || statErr != nil {
		return true
	}
	return stat.Dirty > 0 || stat.Writeback > 0 || 2*stat.Cache*uint64(os.Getpagesize()) >= uint64(n)
}
