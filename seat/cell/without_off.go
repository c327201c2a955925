//go:build !celltest

package cell

// Without reports whether a defence is left out: never. Only tests leave one out.
func Without(string) bool { return false }

// SetWithout does nothing.
func SetWithout(map[string]string) {}

// WithoutEnviron passes on which defences are left out: none.
func WithoutEnviron() []string { return nil }
