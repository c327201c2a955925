package terraform_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wrong is input that must be refused, and parts of the messages about it.
type wrong struct {
	variables string
	say       []string
}

// The input of one set is wrong in many ways at once, and there is a message about each. A
// separate set is needed if a check of a variable depends on another one.
var wrongInput = map[string]wrong{
	"no-site": {
		variables: `
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  regions        = {}`,
		say: []string{"regions is empty; give at least one, such as"},
	},
	"sites": {
		variables: `
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  regions = {
    "mars-north-1" = { cidr = "10.10.0.0/16", pools = { tpu = { instance_types = ["c7i.large"], min = 5, max = 2 } } }
    "us-west-1"    = { cidr = "10.50.0.0/16", pools = {} }

    "eu-central-1" = {
      cidr       = "10.10.64.0/18"
      edge_nodes = 1
      pools      = { cpu = { instance_types = ["large"], min = 1, max = 3, on_demand_base = 9, cache_gib = 1, gpu_seats = 2 } }
    }
    "ap-south-1" = { cidr = "10.50.0.0/16", pools = { cpu = { instance_types = [], min = -1, max = 1, spot_percent = 101 } } }
    "ca-west-1"  = { cidr = "10.51.0.0/16", pools = { gpu = { instance_types = ["g6.xlarge"], min = 0, max = 0, on_demand_base = 0 } }, backup_region = "ca-west-1" }
    "sa-east-1"  = { cidr = "10.52.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1.5, max = 2, packages = ["f3d", "f3d; reboot"] } }, images = { stream = "ami-1", edge = "latest" } }

    "af-south-1" = { cidr = "10.60.0.0", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
    "eu-north-1" = { cidr = "10.61.0.1/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
    "eu-west-1"  = { cidr = "10.62.0.0/24", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
    "us-east-1"  = { cidr = "11.0.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
    "us-east-2"  = { backup_region = "elsewhere", cidr = "172.0.0.0/10", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
    "us-west-2"  = { cidr = "network", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 2 } } }
  }`,
		say: []string{
			"unknown AWS regions: mars-north-1, us-west-1. Known are: af-south-1,",
			"cannot be connected: ap-south-1 (10.50.0.0/16) and us-west-1 (10.50.0.0/16), eu-central-1 (10.10.64.0/18) and mars-north-1 (10.10.0.0/16).",
			"a cidr that is not allowed: af-south-1 (10.60.0.0), eu-north-1 (10.61.0.1/16), eu-west-1 (10.62.0.0/24), us-east-1 (11.0.0.0/16), us-east-2 (172.0.0.0/10), us-west-2 (network). Give a private network",
			"the key cpu, gpu or both; not so in: mars-north-1, us-west-1.",
			"0 <= min <= max and max >= 1; not so in: ap-south-1/cpu (min -1, max 1), ca-west-1/gpu (min 0, max 0), mars-north-1/tpu (min 5, max 2), sa-east-1/cpu (min 1.5, max 2).",
			"not so in: ap-south-1/cpu (on_demand_base 1, max 1, spot_percent 101), eu-central-1/cpu (on_demand_base 9, max 3, spot_percent 80).",
			"such as c7i.2xlarge, at least one; not so in: ap-south-1/cpu (), eu-central-1/cpu (large).",
			"by role: server, edge, stream-cpu, stream-gpu; not so: sa-east-1/edge (latest), sa-east-1/stream (ami-1).",
			"cache_gib from 10 to 16384; not so in: eu-central-1/cpu (1).",
			"gpu_seats from 1 to 64, and other pools have none; not so in: eu-central-1/cpu (2).",
			"names of Debian packages, such as f3d; not so: sa-east-1/cpu (f3d; reboot).",
			"before the old one stops; not so in: eu-central-1 (1).",
			"so that backups outlive it; not so in: ca-west-1 (ca-west-1), us-east-2 (elsewhere).",
		},
	},
	"names": {
		variables: `
  name           = "My Cluster"
  domain         = "https://play.example.com"
  zone           = "example.com"
  primary_region = "sa-east-1"
  media_ports    = { from = 8000, to = 9000 }
  turn_ports     = { from = 21999, to = 21000 }
  alarm_email    = "nobody"
  certificates   = { "us-east-1" = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up" }
  release        = "./tests/fixtures/none.tar.gz"
  release_arm64  = "./tests/fixtures/release.tar.gz"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{
			`name is "My Cluster"; give 2 to 12 lower case letters`,
			`domain is "https://play.example.com"; give a full host name`,
			`primary_region is "sa-east-1", which is not in regions; it must be one of: eu-central-1.`,
			"media_ports are 8000 to 9000; give a range within 10000 to 32767.",
			"turn_ports are 21999 to 21000; give a range",
			`alarm_email is "nobody", which is not an e-mail address.`,
			"for every region or for none; given: us-east-1; regions: eu-central-1.",
			"certificate in the region itself; not so for: us-east-1.",
			`release is "./tests/fixtures/none.tar.gz"; run make release`,
			`release_arm64 is "./tests/fixtures/release.tar.gz"; run make release-arm64`,
		},
	},
	"domains": {
		variables: `
  name           = "nearcast-production"
  domain         = "badexample.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{
			`name is "nearcast-production"; give 2 to 12`,
			`domain "badexample.com" is not in the zone "example.com"; give a name that is the zone's or ends with .example.com.`,
		},
	},
	"long-domain": {
		variables: `
  domain         = "a-name-that-is-longer-than-certificates-take-it.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{`longer-than-certificates-take-it.example.com"; give a full host name`},
	},
	"debian": {
		variables: `
  domain          = "play.example.com"
  zone            = "example.com"
  primary_region  = "eu-central-1"
  image_parameter = "/aws/service/debian/release/12/latest/amd64"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{"Debian's image lacks the Session Manager agent"},
	},
	"arm64": {
		variables: `
  domain          = "play.example.com"
  zone            = "example.com"
  primary_region  = "eu-central-1"
  edge_type       = "c7gn.large"
  release         = "./tests/fixtures/release-arm64.tar.gz"

  image_parameter_arm64 = "/aws/service/debian/release/12/latest/arm64"

  session_manager = { url = "https://example.com/agent.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { gpu = { instance_types = ["g5.xlarge", "g4dn.xlarge", "g5g.xlarge"], min = 1, max = 3 } } }
  }`,
		say: []string{
			"instance types with arm64 need release_arm64 (make release-arm64): edge_type (c7gn.large).",
			"session_manager names a package for amd64, and these have arm64: edge_type (c7gn.large).",
			`release is "./tests/fixtures/release-arm64.tar.gz", which is for arm64: give it as release_arm64`,
			`image_parameter_arm64 is "/aws/service/debian/release/12/latest/arm64": Debian's image lacks the Session Manager agent`,
			"stream nodes are amd64, and these instance types have arm64: eu-central-1/gpu (g5g.xlarge).",
		},
	},
	// The stand-in for AWS says that each image is for amd64.
	"image": {
		variables: `
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  edge_type      = "t4g.small"
  release_arm64  = "./tests/fixtures/release-arm64.tar.gz"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", images = { edge = "ami-0a", server = "ami-0b" }, pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{"the image ami-0a of edge in eu-central-1 is for x86_64, and its nodes are arm64: give one"},
	},
	"agent": {
		variables: `
  domain          = "play.example.com"
  zone            = "example.com"
  primary_region  = "eu-central-1"
  session_manager = { url = "http://example.com/agent.deb", sha256 = "0" }
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{"session_manager needs an https:// address and a SHA-256"},
	},
	"zone": {
		variables: `
  domain         = "play.example"
  zone           = "example"
  primary_region = "eu-central-1"
  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.large"], min = 1, max = 3 } } }
  }`,
		say: []string{`zone is "example"; give the name of a hosted zone`},
	},
}

// refuse plans with wrong input, and checks the messages.
func (c *checker) refuse(t *testing.T) {
	t.Helper()
	var files []string
	for name, w := range wrongInput {
		text := `
mock_provider "aws" {
  source = "./tests/mocks/aws"
}
variables {
  release = "./tests/fixtures/release.tar.gz"
}
run "refused" {
  command = plan
  variables {` + w.variables + `
  }
}
`
		file := "wrong-" + name
		if err := os.WriteFile(filepath.Join(c.dir, "tests", file+".tftest.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	seen := c.test(t, files)
	for name, w := range wrongInput {
		f := seen["wrong-"+name]
		if f == nil || f.status == "pass" {
			t.Errorf("%s: wrong input was accepted", name)
			continue
		}
		// Terraform breaks messages into lines.
		said := strings.Join(strings.Fields(f.said()), " ")
		for _, say := range w.say {
			if !strings.Contains(said, say) {
				t.Errorf("%s: no message contains %q; it says:\n%s", name, say, f.said())
			}
		}
	}
}
