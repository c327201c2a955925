package driver

import (
	"testing"

	goversion "github.com/hashicorp/go-version"

	"github.com/nearcast/nearcast/internal/version"
)

// Nomad loads no plugin whose version its parser refuses.
func TestNomadParsesVersions(t *testing.T) {
	for _, v := range []string{
		version.String(), info.PluginVersion,
		"v0.2.0", "v1.0.0-rc.1", "v0.0.0-unknown",
		"v0.0.0-20261128052442-380104d3a1b2", "v0.0.0-20261128052442-380104d3a1b2+dirty",
	} {
		if _, err := goversion.NewVersion(v); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
}
