package shell_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/shell"
)

func TestBashReadsItBack(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("NOT RUN by a shell: there is no bash")
	}
	for name, want := range map[string]string{
		"model.safetensors": "", "": "", "a b'c\"$(x)": "", "~": "", "dir/é": "", "a\nb\x1b": "", "\xff'": "", "-rf": "./-rf",
	} {
		if want == "" {
			want = name
		}
		out, err := exec.Command(bash, "-c", "printf %s "+shell.Arg(name)).Output()
		require.NoError(t, err)
		require.Equal(t, want, string(out))
		out, err = exec.Command(bash, "-c", "printf %s%s '' "+shell.Word(name)).Output()
		require.NoError(t, err)
		require.Equal(t, name, string(out))
	}
	require.Equal(t, "model.safetensors", shell.Arg("model.safetensors"))
}
