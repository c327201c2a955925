// Package platform has the jobs of a site's own parts, so that a program registers those of its
// own release:
//
//	source := platform.Source("router") // router.nomad.hcl
package platform

import "embed"

//go:embed *.nomad.hcl
var files embed.FS

// Source is the file of a job; "" where there is none of that name.
func Source(name string) string {
	text, _ := files.ReadFile(name + ".nomad.hcl")
	return string(text)
}
