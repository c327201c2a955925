//go:build !celltest

package privilege

import "github.com/nearcast/nearcast/seat/cell"

// keepAll does nothing: only tests leave capabilities.
func keepAll(cell.Identity) (kept bool, err error) { return false, nil }
