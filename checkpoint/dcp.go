package checkpoint

import (
	"context"
	"io"
	"path"
	"strings"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// dcpShards reads the .metadata of a torch.distributed.checkpoint: the files that
// it names and how long each must be at least. Follows PyTorch 2.15
// torch/distributed/checkpoint/filesystem.py, class _StorageInfo.
func (c *Checkpoint) dcpShards(ctx context.Context, name string) (map[string]int64, error) {
	shards := make(map[string]int64)
	err := c.withTorchFile(name, func(r io.ReaderAt, size int64) error {
		doc, err := pickle.Read(ctx, r, 0, size, &pickle.Options{Name: name})
		if err != nil {
			return err
		}
		for v := range doc.Root.All() {
			if _, class, ok := v.Class(); !ok || class != "_StorageInfo" {
				continue
			}
			file, err := v.Get("relative_path").Text()
			if err != nil {
				continue
			}
			offset, err1 := v.Get("offset").Int()
			length, err2 := v.Get("length").Int()
			if err1 != nil || err2 != nil || offset < 0 || length < 0 || offset > 1<<60 || length > 1<<60 {
				offset, length = 0, 0
			}
			if path.Base(file) == file && strings.HasSuffix(file, ".distcp") {
				shards[file] = max(shards[file], offset+length)
			}
		}
		return nil
	})
	return shards, err
}
