package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// startAutoscaler starts the real nomad-autoscaler with the real plugin, and two policies: that of
// jobs/platform/autoscaler.nomad.hcl, and the one that it had before the plugin.
func (l *live) startAutoscaler() error {
	p, err := freePorts(1)
	if err != nil {
		return err
	}
	return l.runAutoscaler(map[string]string{
		"agent.hcl": fmt.Sprintf(agentHCL, l.pluginDir(), p[0], l.nomadAddress, max(time.Second, l.real(15*time.Second)), filepath.Join(l.dir, "policies"), l.consul),
		"policies/people.hcl": fmt.Sprintf(peopleHCL, l.max, l.real(10*time.Second), l.real(evaluate), l.seats, l.wait, l.ready,
			l.real(mustDuration(l.hold)), l.real(time.Hour)),
		"policies/headroom.hcl": fmt.Sprintf(headroomHCL, l.max, l.real(cooldown), l.real(evaluate), 100*target, threshold, l.real(time.Hour)),
	})
}

func (l *live) pluginDir() string { return filepath.Join(l.dir, "plugins") }

// runAutoscaler runs it with its files, of which agent.hcl is its own configuration.
func (l *live) runAutoscaler(files map[string]string) error {
	tool, err := testkit.FindTool("nomad-autoscaler")
	if err != nil {
		return err
	}
	if err := testkit.Build(l.ctx, "plugins/nomad-autoscaler-seats", filepath.Join(l.pluginDir(), "nomad-autoscaler-seats")); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(l.dir, "policies"), 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	s, err := spawn(l.dir, "autoscaler", []string{"NOMAD_ADDR=" + l.nomadAddress, "AWS_ENDPOINT_URL=" + l.aws, "AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true"},
		tool, "agent", "-log-level=debug", "-config="+filepath.Join(l.dir, "agent.hcl"))
	if err != nil {
		return err
	}
	l.servers = append(l.servers, s)
	return nil
}

func mustDuration(text string) time.Duration {
	d, _ := time.ParseDuration(text) // run has checked it
	return d
}

// agentHCL is as in jobs/platform/autoscaler.nomad.hcl, but for retry_attempts: the 10 s between two
// looks after a request are a constant of the target, and cannot be compressed.
const agentHCL = `
plugin_dir = %q
http {
  bind_port = %d
}
nomad {
  address = %q
}
policy_eval {
  ack_timeout = "%s"
  workers = {
    cluster    = 50
    horizontal = 1
  }
}
policy {
  dir = %q
  source "nomad" {
    enabled = false
  }
}
apm "seats" {
  driver = "nomad-autoscaler-seats"
  args   = ["apm"]
  config = {
    consul = %[6]q
  }
}
strategy "seats" {
  driver = "nomad-autoscaler-seats"
  args   = ["strategy"]
  config = {
    consul = %[6]q
  }
}
target "aws-asg" {
  driver = "aws-asg"
  config = {
    aws_region     = "replay"
    retry_attempts = "1"
  }
}
`

// peopleHCL: what the brain says has the day's times, and so have ready and length; the times of the
// autoscaler's own clock are compressed: cooldown, evaluation_interval, hold, node_drain_deadline, and ack_timeout, which is a second at least.
const peopleHCL = `
scaling "people" {
  enabled = true
  type    = "cluster"
  min     = 0
  max     = %d
  policy {
    cooldown            = "%s"
    evaluation_interval = "%s"
    on_check_error      = "fail"
    check "people" {
      source = "seats"
      query  = "people"
      strategy "seats" {
        node_class     = "people"
        seats_per_node = "%d"
        wait           = "%s"
        ready          = "%s"
        hold           = "%s"
      }
    }
    target "aws-asg" {
      aws_asg_name             = "people"
      node_class               = "people"
      node_selector_strategy   = "empty_ignore_system"
      node_filter_ignore_init  = "true"
      node_filter_ignore_drain = "true"
      ignore_asg_events        = "true"
      node_drain_deadline      = "%s"
    }
  }
}
`

// headroomHCL is the policy that the autoscaler's job had before.
const headroomHCL = `
scaling "headroom" {
  enabled = true
  type    = "cluster"
  min     = 1
  max     = %d
  policy {
    cooldown            = "%s"
    evaluation_interval = "%s"
    on_check_error      = "fail"
    check "cpu" {
      source = "nomad-apm"
      query  = "node_percentage-allocated_cpu/headroom/class"
      strategy "target-value" {
        target         = "%g"
        threshold      = "%g"
        max_scale_down = "1"
      }
    }
    target "aws-asg" {
      aws_asg_name           = "headroom"
      node_class             = "headroom"
      node_selector_strategy = "empty_ignore_system"
      node_drain_deadline    = "%s"
    }
  }
}
`
