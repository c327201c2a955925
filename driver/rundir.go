package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/wire"
)

// seatDir is the name of a task's directory below run_dir. All starts of the task
// have the same, so that a start finds what an earlier one left. It begins with
// the short id of the allocation, which operators know.
func seatDir(alloc, task string) string {
	sum := sha256.Sum256([]byte(alloc + "/" + task))
	return fmt.Sprintf("%.8s-%s", alloc, hex.EncodeToString(sum[:6]))
}

func readSpec(runDir string) (*wire.Spec, error) {
	var spec wire.Spec
	if err := readJSON(filepath.Join(runDir, wire.SpecFile), &spec); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	return &spec, nil
}

// readExit is how the seat of the start with this nonce ended, as its stream host wrote it.
func readExit(runDir, nonce string) (wire.End, error) {
	var exit wire.Exit
	if err := readJSON(filepath.Join(runDir, wire.ExitFile), &exit); err != nil {
		return wire.End{}, fmt.Errorf("read exit: %w", err)
	}
	if exit.Nonce != nonce {
		return wire.End{}, errors.New("read exit: it belongs to another start")
	}
	return exit.End, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// writeFile writes all of the content or nothing, also when this process is killed.
// The temporary file is in the same directory, so on the same file system.
func writeFile(path string, content []byte) error {
	return renameio.WriteFile(path, content, 0o600,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
}

// removeRunDir removes a run directory. It also removes the directory outside the
// task's that a killed stream host could not remove itself.
func removeRunDir(runDir string) error {
	link := filepath.Join(runDir, wire.ScratchLink)
	if scratch, err := os.Readlink(link); err == nil && strings.HasPrefix(filepath.Base(scratch), ".nearcast-") {
		if err := os.RemoveAll(scratch); err != nil {
			return fmt.Errorf("remove the seat's directory: %w", err)
		}
	}
	if err := os.RemoveAll(runDir); err != nil {
		return fmt.Errorf("remove run directory: %w", err)
	}
	return nil
}
