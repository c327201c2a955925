package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/internet"
	"github.com/nearcast/nearcast/seat/cell/landlock"
)

const fingerprintArg = "fingerprint"

// fingerprint prints what this node has for cells.
func fingerprint(args []string, out io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintf(os.Stderr, "seat-keeper: fingerprint: unexpected argument %q; see --help\n", args[0])
		return 2
	}
	f := wire.CellFingerprint{Version: version.String(), Landlock: landlock.Version()}
	if err := internet.Available(); err != nil {
		f.NoInternet = err.Error()
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(f); err != nil {
		fmt.Fprintln(os.Stderr, "seat-keeper:", err)
		return 1
	}
	return 0
}
