//go:build celltest

package internet

import (
	"os"
	"slices"
	"strings"
)

// switchedOff leaves out the defences that NEARCAST_CELL_WITHOUT names: "internet" both
// layers of refusal, "internet-routes" the routes alone.
func (c *Config) switchedOff() {
	without := strings.Split(os.Getenv("NEARCAST_CELL_WITHOUT"), ",")
	c.open = c.open || slices.Contains(without, "internet")
	c.noRoutes = c.noRoutes || slices.Contains(without, "internet-routes")
}
