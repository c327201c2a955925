//go:build !celltest

package internet

// switchedOff does nothing: only tests leave defences out.
func (*Config) switchedOff() {}
