package cell

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// HeldArg makes seat-keeper wait, as Held does.
const HeldArg = "held"

// heldFD is a pipe of which the driver has the other end.
const heldFD = 3

// Held returns when the driver has moved this process into its cgroups: those of version 1 take a
// process only once it runs, and what it starts before stays outside. A driver that died holds nothing.
func Held() error {
	hold := os.NewFile(heldFD, "hold")
	_, err := io.Copy(io.Discard, hold)
	if err := errors.Join(err, hold.Close()); err != nil {
		return fmt.Errorf("wait for the cgroups: %w", err)
	}
	return nil
}
