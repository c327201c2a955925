// Package version says which version of Nearcast a program is. All programs of a
// build say the same: nearcast version, stream-host --version, the driver in
// Nomad's fingerprint, and the name of the release's archive.
//
//	fmt.Println(version.String()) // v0.2.0, or v0.0.0-20261128052442-380104d3a1b2 between releases
//
// The Makefile stamps it into each program: the tag of the commit, else a
// pseudo-version of its time and hash, with "+dirty" where files were changed
// (https://go.dev/ref/mod#pseudo-versions). Without the Makefile, the go command's
// own stamp counts.
package version

import (
	"cmp"
	"runtime/debug"
	"sync"
)

// stamp is set by the linker: -X github.com/nearcast/nearcast/internal/version.stamp=v0.2.0
var stamp string

// unknown is the version of a program that nothing was stamped into. It is a valid
// semantic version, as Nomad asks of its plugins.
const unknown = "v0.0.0-unknown"

// String is the version of the running program, a semantic version with "v".
var String = sync.OnceValue(func() string {
	info, _ := debug.ReadBuildInfo()
	return cmp.Or(stamp, ofBuild(info))
})

// ofBuild is the go command's stamp. info may be nil.
func ofBuild(info *debug.BuildInfo) string {
	if info == nil || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return unknown
	}
	return info.Main.Version
}
