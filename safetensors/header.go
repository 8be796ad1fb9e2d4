package safetensors

// A TensorInfo is what a header says of one tensor.
type TensorInfo struct {
	Name  string
	DType DType
	// Shape holds the dimensions, outermost first; empty for a scalar. For the
	// sub-byte types it counts elements, not bytes.
	Shape []uint64
	// Begin and End bound the tensor's bytes, counted from the start of the data
	// section, as data_offsets does. See Header.DataStart.
	Begin, End uint64
}

// Bytes returns the number of bytes that the tensor takes in the file.
func (t TensorInfo) Bytes() uint64 { return t.End - t.Begin }

// Elements returns the number of elements, 1 for a scalar. The header has been
// checked not to overflow.
func (t TensorInfo) Elements() uint64 {
	n := uint64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// A Header is the decoded header of one file. It must not be modified; any
// number of goroutines may read it.
type Header struct {
	// Tensors holds the tensors by (begin, end, bytes of the name).
	Tensors []TensorInfo
	// Metadata is the __metadata__ of the file, nil if there is none.
	Metadata map[string]string
	// Length is the length N of the JSON text, padding included.
	Length uint64

	index map[string]int32
}

// DataStart returns the offset in the file at which the data section starts.
func (h *Header) DataStart() int64 { return 8 + int64(h.Length) }

// Lookup returns the tensor of that name.
func (h *Header) Lookup(name string) (*TensorInfo, bool) {
	i, ok := h.index[name]
	if !ok {
		return nil, false
	}
	return &h.Tensors[i], true
}
