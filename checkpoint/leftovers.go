package checkpoint

import (
	"regexp"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// loaded are the files that from_pretrained, a tokenizer or the Trainer reads.
var loaded = regexp.MustCompile(`\.(safetensors|json|pt|pth|bin|model|jinja|distcp)$|^(latest|merges\.txt|vocab\.txt)$`)

// checkLeftovers names what a killed save left behind and files that cannot be
// looked at, such as symlinks that point nowhere.
func checkLeftovers(v *validation) error {
	if v.c.files == nil {
		return nil
	}
	if strings.HasPrefix(v.c.dir, "tmp-checkpoint-") {
		p := diag.New(diag.Leftover, "%s is the staging directory of a save that was not finished", diag.Name(v.c.dir))
		p.Cause = "transformers 4.36 to 4.38 saves under this name and renames it at the end; the process was killed before"
		p.Fix = "resume from the newest checkpoint-N, and delete this directory"
		v.add(p)
	}
	for _, name := range sortedKeys(v.c.files.shut) {
		p := unreadable(name, v.c.files.shut[name])
		v.add(p)
	}
	for _, name := range sortedKeys(v.c.files.files) {
		if err := v.c.files.files[name]; err != nil {
			if v.c.model != nil && strings.HasSuffix(name, ".safetensors") {
				continue // the model's report says so
			}
			p := diag.New(diag.FileUnreadable, "cannot be looked at: %s", plainError(err))
			p.File = name
			p.Cause = "a symlink that points nowhere (an incomplete Hugging Face cache, a moved directory), or missing permissions"
			p.Fix = "download or copy the file again"
			if !loaded.MatchString(name) {
				p.Severity = diag.Note // nothing that a loader would want
			}
			v.add(p)
			continue
		}
		if isLeftover(name) {
			size := v.c.sizeOf(name)
			p := diag.New(diag.Leftover, "%s (%s) is the temporary file of a save that was killed", name, diag.Size(uint64(size)))
			p.File, p.Got = name, diag.Count(size, "byte")
			p.Cause = "the process was killed while it wrote the weights"
			p.Fix = "delete it once no process writes here any more"
			v.add(p)
		}
	}
	return nil
}
