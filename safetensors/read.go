package safetensors

import (
	"io"

	"github.com/safeckpt/safeckpt/diag"
)

func readHeader(r io.ReaderAt, name string, size int64, limits Limits) (*Header, *diag.Report, error) {
	return nil, nil, io.EOF
}
