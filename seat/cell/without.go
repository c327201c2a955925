//go:build celltest

package cell

import (
	"os"
	"slices"
	"strings"
)

const withoutEnv = "NEARCAST_CELL_WITHOUT"

// Without reports whether a defence is left out. Only builds with the tag celltest can
// leave one out: the environment variable NEARCAST_CELL_WITHOUT names them.
func Without(defence string) bool {
	return slices.Contains(strings.Split(os.Getenv(withoutEnv), ","), defence)
}

// SetWithout leaves out the defences that a job names in its environment, too.
func SetWithout(env map[string]string) {
	if names := env[withoutEnv]; names != "" {
		os.Setenv(withoutEnv, names)
	}
}

// WithoutEnviron passes on which defences are left out.
func WithoutEnviron() []string {
	return []string{withoutEnv + "=" + os.Getenv(withoutEnv)}
}
