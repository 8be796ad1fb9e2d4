package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	repoName = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$`)
	commit   = regexp.MustCompile(`^[0-9a-f]+$`)
)

// FindModel returns the directory of a model that is given as a directory or as
// a name such as "Qwen/Qwen2.5-VL-7B-Instruct". A name is looked up in the local
// Hugging Face cache, never on the network; the revision is that of refs/main, or
// the only one that is there.
//
// Follows huggingface_hub, constants.py and file_download.py: HF_HUB_CACHE, then
// HF_HOME/hub, then XDG_CACHE_HOME/huggingface/hub, then ~/.cache/huggingface/hub.
func FindModel(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return name, nil
	case err == nil:
		return "", fmt.Errorf("%s is a file; want the directory of a model", name)
	case !repoName.MatchString(name):
		return "", err
	}
	cache, err := hubCache()
	if err != nil {
		return "", err
	}
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(name, "/", "--"))
	snapshots := filepath.Join(repo, "snapshots")
	ref, err := os.ReadFile(filepath.Join(repo, "refs", "main"))
	if revision := strings.TrimSpace(string(ref)); err == nil && commit.MatchString(revision) {
		dir := filepath.Join(snapshots, revision)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	revisions, err := os.ReadDir(snapshots)
	if err != nil {
		return "", fmt.Errorf("no directory %s, and no model of that name in the Hugging Face cache (%s); give the directory of the base model", name, cache)
	}
	if len(revisions) != 1 {
		return "", fmt.Errorf("the Hugging Face cache has %d revisions of %s and no refs/main; give one of the directories in %s", len(revisions), name, snapshots)
	}
	return filepath.Join(snapshots, revisions[0].Name()), nil
}

func hubCache() (string, error) {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub"), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "huggingface", "hub"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "huggingface", "hub"), nil
}
