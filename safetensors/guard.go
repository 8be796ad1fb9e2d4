package safetensors

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

// Guard calls fn and turns a fault in this file's mapping (the file was cut, its
// storage failed) into a *FaultError. Close waits until fn has returned; fn must
// not call it. Any other panic of fn goes through.
//
// It guards the goroutine that fn runs on and none that fn starts: each worker
// needs a Guard of its own, at little cost (tens of nanoseconds). Bytes between
// the end of a cut file and the end of its last page read as zeros without a
// fault; compare the file's size after bulk work where that matters. A write of
// mapped bytes to a descriptor fails with EFAULT instead of a fault.
func (f *File) Guard(fn func() error) (err error) {
	release, err := f.acquire()
	if err != nil {
		return err
	}
	defer release()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface {
			runtime.Error
			Addr() uintptr
		})
		if !ok {
			panic(r)
		}
		off, ok := f.offsetOf(fault.Addr())
		if !ok {
			panic(r)
		}
		err = &FaultError{Name: f.name, Offset: off, Err: fault}
	}()
	return fn()
}

// offsetOf returns the offset in the file of an address in its mapping.
func (f *File) offsetOf(addr uintptr) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mapping == nil {
		return 0, false
	}
	data := f.mapping.Bytes()
	off := addr - uintptr(unsafe.Pointer(unsafe.SliceData(data))) // wraps below the start
	return int64(off), off < uintptr(len(data))
}
