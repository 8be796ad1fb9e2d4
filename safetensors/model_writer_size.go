package safetensors

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseSize reads a size in bytes as max_shard_size is written for transformers:
// "5GB" or "1.5 MB", in decimal units from KB to TB; a bare number counts bytes.
// Follows huggingface_hub 2.4.0, serialization/_base.py, parse_size_to_int.
func ParseSize(s string) (uint64, error) {
	number, unit := strings.TrimSpace(strings.ToUpper(s)), 1.0
	for i, u := range []string{"KB", "MB", "GB", "TB"} {
		if n, ok := strings.CutSuffix(number, u); ok {
			number, unit = strings.TrimSpace(n), []float64{1e3, 1e6, 1e9, 1e12}[i]
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*unit >= 0 && n*unit < 1<<63) {
		return 0, fmt.Errorf("safetensors: %q is no size such as \"5GB\", \"200MB\" or a number of bytes", s)
	}
	return uint64(n * unit), nil
}
