package driver

import (
	"os"
	"path/filepath"
)

// registryPath is GStreamer's list of its plugins. Without one each stream host would
// look at every plugin when it starts, which takes seconds: it has no home directory
// where it could keep a list. The fingerprint writes it, and writes it again after
// plugins have changed.
func registryPath(cacheDir string) string { return filepath.Join(cacheDir, "gstreamer-registry.bin") }

// registryEnviron names the list to a stream host that only reads it, or updates it.
func registryEnviron(cacheDir string, update bool) []string {
	if os.Getenv("GST_REGISTRY") != "" {
		return nil // the operator's own, which goes to stream hosts anyway
	}
	env := []string{"GST_REGISTRY=" + registryPath(cacheDir)}
	if !update {
		env = append(env, "GST_REGISTRY_UPDATE=no")
	}
	return env
}
