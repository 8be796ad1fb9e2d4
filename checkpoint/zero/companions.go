package zero

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// companion matches what from_pretrained of models, tokenizers and processors
// reads beside weights.
var companion = regexp.MustCompile(`^(config|generation_config|.*tokenizer.*|special_tokens_map|added_tokens|vocab|(pre|video_pre)?processor_config|preprocessor_config|chat_template)\.(json|jinja|model|txt)$|^(merges\.txt|vocab\.txt|.*\.spm|.*\.tiktoken|.*\.bpe\.model|spiece\.model)$`)

// maxCompanion bounds what is copied; the largest tokenizers have some 40 MB.
const maxCompanion = 1 << 30

// writeCompanions copies the small files that make dir load.
func (m *merge) writeCompanions(dir string) error {
	entries, err := fs.ReadDir(m.s.fsys, m.s.base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		wanted := companion.MatchString(name)
		if m.stats.Adapter {
			wanted = wanted && name != "config.json" || name == "adapter_config.json"
		}
		if !wanted {
			continue
		}
		info, err := fs.Stat(m.s.fsys, path.Join(m.s.base, name)) // follows links, which caches consist of
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > maxCompanion {
			continue
		}
		if err := m.copyFile(path.Join(m.s.base, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (m *merge) copyFile(from, to string) error {
	src, err := m.s.fsys.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := atomicfile.Create(to, &atomicfile.Options{Step: m.o.Step})
	if err != nil {
		return err
	}
	_, err = dst.ReadFrom(io.LimitReader(src, maxCompanion))
	if err == nil {
		err = dst.Publish()
	}
	if err != nil {
		return errors.Join(err, dst.Abort())
	}
	return nil
}
