package seat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/wire"
)

// WriteExit writes exit.json into the run directory, whole or not at all. It
// syncs the directory too: after a power cut Nomad's client still finds the file.
func WriteExit(dir string, exit wire.Exit) error {
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

// fault is the end of a seat that failed.
func fault(code, format string, args ...any) wire.End {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// asEnd returns err if it is an end already, else a fault with code.
func asEnd(err error, code string) wire.End {
	var end wire.End
	if errors.As(err, &end) {
		return end
	}
	return fault(code, "%v", err)
}
