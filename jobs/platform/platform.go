// Package platform has the jobs of a site's own parts, so that a program registers those of its
// own release:
//
//	source := platform.Source("router") // router.nomad.hcl
package platform

import (
	"embed"
	"encoding/json"
	"regexp"
	"strings"
)

//go:embed *.nomad.hcl observability
var files embed.FS

// reads is a call of HCL that reads a file beside the job. Nomad's servers, which parse what a
// program sends, do not have it.
var reads = regexp.MustCompile(`file\("([a-z/.]+)"\)`)

var escape = strings.NewReplacer("${", "$${", "%{", "%%{")

// Source is the file of a job, with the texts of the files that it reads in their place; "" where
// there is none of that name.
func Source(name string) string {
	text, _ := files.ReadFile(name + ".nomad.hcl")
	return reads.ReplaceAllStringFunc(string(text), func(call string) string {
		part, err := files.ReadFile(reads.FindStringSubmatch(call)[1])
		if err != nil {
			return call
		}
		quoted, err := json.Marshal(string(part))
		if err != nil {
			panic(err) // a string
		}
		return escape.Replace(string(quoted))
	})
}
