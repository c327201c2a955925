package cloud

import (
	"context"
	"strings"
	"time"
)

// The secrets that jobs have in Nomad's variables, and no node in a file.

// turnFile is where a rotation keeps the secret of a site's TURN servers.
func turnFile(site Site) string { return "turn-" + site.Name }

// turnSites calls do at each site with TURN servers that have a secret.
func (r *rotating) turnSites(ctx context.Context, do func(site Site, at Reached, items map[string]string) error) error {
	return r.everywhere(func(site Site, at Reached) error {
		items, _, err := at.Nomad.Variable(ctx, turnVariable)
		if err != nil || items["secret"] == "" {
			return err
		}
		return do(site, at, items)
	})
}

var turnRotation = Rotation{
	Name: "turn", What: "the secret by which brains make names and passwords for TURN servers", Meanwhile: "TURN servers restart twice, and brains once: people whose packets are relayed connect again",
	steps: []rotationStep{
		{"make new secrets", func(ctx context.Context, r *rotating) error {
			makes := map[string]func() (string, error){}
			for _, site := range r.Outputs.Sites {
				makes[turnFile(site)] = func() (string, error) { return newSecret(), nil }
			}
			return r.make(ctx, makes)
		}},
		{"TURN servers accept both", func(ctx context.Context, r *rotating) error {
			return r.turnSites(ctx, func(site Site, at Reached, items map[string]string) error {
				// A site that came meanwhile has a new secret anyway.
				if next := r.files[nextFile+turnFile(site)]; next != "" && items["secret"] != next {
					if err := r.change(ctx, at.Nomad, turnVariable, map[string]string{"secret": next, "previous": items["secret"]}); err != nil {
						return err
					}
				}
				return r.runs(ctx, site, at, "turn")
			})
		}},
		{"TURN servers have read it", func(ctx context.Context, r *rotating) error {
			if err := r.settled(ctx); err != nil {
				return err
			}
			return r.turnSites(ctx, func(site Site, at Reached, _ map[string]string) error { return r.runs(ctx, site, at, "turn") })
		}},
		{"brains use the new one", func(ctx context.Context, r *rotating) error {
			return r.turnSites(ctx, func(site Site, at Reached, items map[string]string) error {
				if err := r.change(ctx, at.Nomad, brainVariable, map[string]string{"turn_secret": items["secret"]}); err != nil {
					return err
				}
				return r.runs(ctx, site, at, "brain")
			})
		}},
		{"a quarter of an hour later, TURN servers forget the old one", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, relayNames); err != nil {
				return err
			}
			return r.turnSites(ctx, func(site Site, at Reached, _ map[string]string) error {
				if err := r.change(ctx, at.Nomad, turnVariable, map[string]string{"previous": ""}); err != nil {
					return err
				}
				return r.runs(ctx, site, at, "turn")
			})
		}},
	},
}

const operatorFile = "operator-token"

// operatorOverlap is the time in which operators take the new token.
const operatorOverlap = 24 * time.Hour

// tellOperatorTokens has the routers of all sites take these.
func (r *rotating) tellOperatorTokens(ctx context.Context, tokens ...string) error {
	err := r.everywhere(func(site Site, at Reached) error {
		if err := r.change(ctx, at.Nomad, routerVariable, map[string]string{"operator_token": strings.Join(tokens, "\n")}); err != nil {
			return err
		}
		return r.runs(ctx, site, at, "router")
	})
	if err != nil {
		return err
	}
	return r.settled(ctx)
}

var operatorRotation = Rotation{
	Name: "operator-token", What: "the token by which operators and the console list and end sessions at routers", Meanwhile: "Routers restart twice. Who has a copy of the old token takes the new one within a day",
	steps: []rotationStep{
		{"make a new token", func(ctx context.Context, r *rotating) error {
			if r.files[previousFile+operatorFile] == "" {
				items, _, err := r.Reach(r.Outputs.Primary().Name).Nomad.Variable(ctx, routerVariable)
				if err != nil {
					return err
				}
				// The first line is the one that is used.
				r.files[previousFile+operatorFile], _, _ = strings.Cut(items["operator_token"], "\n")
			}
			return r.make(ctx, map[string]func() (string, error){operatorFile: func() (string, error) { return newSecret(), nil }})
		}},
		{"routers accept it beside the old one", func(ctx context.Context, r *rotating) error {
			tokens := []string{r.files[nextFile+operatorFile]}
			if old := r.files[previousFile+operatorFile]; old != "" {
				tokens = append(tokens, old)
			}
			return r.tellOperatorTokens(ctx, tokens...)
		}},
		{"the console uses it", func(ctx context.Context, r *rotating) error {
			return r.everywhere(func(site Site, at Reached) error {
				items, _, err := at.Nomad.Variable(ctx, consoleVariable)
				if err != nil || items["router_token"] == "" {
					return err
				}
				if err := r.change(ctx, at.Nomad, consoleVariable, map[string]string{"router_token": r.files[nextFile+operatorFile]}); err != nil {
					return err
				}
				return r.runs(ctx, site, at, consoleJob)
			})
		}},
		{"a day later, routers forget the old one", func(ctx context.Context, r *rotating) error {
			r.say("operators take the new token: nomad var get -item=operator_token " + routerVariable + " | head -n 1")
			if err := r.overlap(ctx, operatorOverlap); err != nil {
				return err
			}
			return r.tellOperatorTokens(ctx, r.files[nextFile+operatorFile])
		}},
	},
}
