package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/wire"
)

// end is the end of a seat by err: as it is where the layer that knows the cause gave
// a code, else with this code.
func end(code string, err error) wire.End {
	var e wire.End
	if errors.As(err, &e) {
		return e
	}
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: err.Error()}
}

// writeExit writes exit.json into the run directory, whole or not at all. It syncs the
// directory too: after a power cut Nomad's client still finds the file.
func writeExit(dir string, exit wire.Exit) error {
	raw, err := json.MarshalIndent(exit, "", "  ")
	if err != nil {
		return fmt.Errorf("encode exit: %w", err)
	}
	// The temporary file must be in dir, as $TMPDIR may be another filesystem.
	err = renameio.WriteFile(filepath.Join(dir, wire.ExitFile), append(raw, '\n'), 0o600, renameio.WithTempDir(dir))
	if err != nil {
		return fmt.Errorf("write exit: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync exit: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync exit: %w", err)
	}
	return nil
}
