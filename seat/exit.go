package seat

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nearcast/nearcast/internal/wire"
)

// LoadSpec reads the spec that the driver wrote.
func LoadSpec(path string) (wire.Spec, error) {
	var spec wire.Spec
	raw, err := os.ReadFile(path)
	if err != nil {
		return spec, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, fmt.Errorf("parse spec %s: %w", path, err)
	}
	if spec.RunDir == "" {
		return spec, fmt.Errorf("spec %s has no run_dir", path)
	}
	return spec, nil
}

// WriteExit leaves the last word in the run directory: whole or not at all,
// and there also after a power cut, since Nomad's client may only look then.
func WriteExit(dir string, exit wire.Exit) error {
	raw, err := json.MarshalIndent(exit, "", "  ")
	if err != nil {
		return fmt.Errorf("encode exit: %w", err)
	}
	f, err := os.CreateTemp(dir, wire.ExitFile+".")
	if err != nil {
		return fmt.Errorf("write exit: %w", err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write exit: %w", err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, wire.ExitFile)); err != nil {
		return errors.Join(fmt.Errorf("write exit: %w", err), os.Remove(f.Name()))
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
