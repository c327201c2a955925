package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/secrets"
)

// shared are the names of secrets that all sites share.
func shared(names ...string) (files []string) {
	for _, name := range names {
		files = append(files, "shared/"+name)
	}
	return files
}

var gossipFiles = shared(provision.ConsulGossipFile, provision.NomadGossipFile)

// pools are the two pools of agents, with the file of their key.
func (r *rotating) pools() map[string]Gossip {
	at := r.Reach(r.Outputs.Primary().Name)
	return map[string]Gossip{gossipFiles[0]: at.Consul, gossipFiles[1]: at.Nomad}
}

var gossipRotation = Rotation{
	Name: "gossip", What: "the keys by which agents of Consul, and servers of Nomad, know each other", Meanwhile: "Nobody notices anything, and nothing restarts",
	steps: []rotationStep{
		{"make new keys", func(ctx context.Context, r *rotating) error {
			makes := map[string]func() (string, error){}
			for _, file := range gossipFiles {
				makes[file] = func() (string, error) { return secrets.GossipKey(), nil }
			}
			return r.make(ctx, makes)
		}},
		{"all agents accept the new keys", func(ctx context.Context, r *rotating) error {
			for file, pool := range r.pools() {
				key := r.trimmed(nextFile + file)
				if err := pool.InstallGossipKey(ctx, key); err != nil {
					return err
				}
				if keys, err := pool.GossipKeys(ctx); err != nil {
					return err
				} else if !keys[key] {
					return errNoGossip
				}
			}
			return nil
		}},
		{"all agents use the new keys", func(ctx context.Context, r *rotating) error {
			for file, pool := range r.pools() {
				if err := pool.UseGossipKey(ctx, r.trimmed(nextFile+file)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"new nodes get the new keys", func(ctx context.Context, r *rotating) error { return r.use(ctx, gossipFiles...) }},
		{"nodes have the files", func(ctx context.Context, r *rotating) error { return r.told(ctx) }},
		{"agents forget all other keys", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, 0); err != nil {
				return err
			}
			if err := r.warnLost(ctx); err != nil {
				return err
			}
			for file, pool := range r.pools() {
				keys, err := pool.GossipKeys(ctx)
				if err != nil {
					return err
				}
				for _, key := range sorted(keys) {
					if key == r.trimmed(file) {
						continue
					}
					if err := pool.RemoveGossipKey(ctx, key); err != nil {
						return err
					}
				}
			}
			return nil
		}},
	},
}

// warnLost names nodes that do not get the new keys.
func (r *rotating) warnLost(ctx context.Context) error {
	return r.everywhere(func(site Site, at Reached) error {
		lost, err := at.Consul.Lost(ctx)
		if err == nil && len(lost) > 0 {
			r.say(fmt.Sprintf("%s: %s are lost. One that comes back with its old keys cannot join: give it the new files, remove serf/*.keyring from the data folder of Consul there, and restart Consul", site.Name, list(lost)))
		}
		return err
	})
}

const ticketKeyFile, ticketKeysFile = "tickets/" + ticket.PrivateKeyFile, "tickets/" + ticket.PublicKeysFile

// tellTicketKeys gives the public keys to routers, brains and stream nodes.
func (r *rotating) tellTicketKeys(ctx context.Context) error {
	err := r.everywhere(func(_ Site, at Reached) error {
		for _, path := range []string{routerVariable, brainVariable} {
			if err := r.change(ctx, at.Nomad, path, map[string]string{"ticket_keys": r.files[ticketKeysFile]}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.told(ctx); err != nil {
		return err
	}
	return r.settled(ctx)
}

var ticketRotation = Rotation{
	Name: "ticket-key", What: "the key by which routers sign tickets", Meanwhile: "Each router restarts once",
	steps: []rotationStep{
		{"make a new key", func(ctx context.Context, r *rotating) error {
			if r.files[nextFile+ticketKeyFile] == "" {
				private, public, err := ticket.NewKeys()
				if err != nil {
					return err
				}
				r.files[nextFile+ticketKeyFile], r.files[nextFile+ticketKeysFile] = string(private), string(public)
			}
			if public := r.files[nextFile+ticketKeysFile]; !strings.Contains(r.files[ticketKeysFile], public) {
				r.files[ticketKeysFile] = public + r.files[ticketKeysFile]
			}
			return r.save(ctx)
		}},
		{"routers, brains and stream nodes accept it beside the old one", func(ctx context.Context, r *rotating) error { return r.tellTicketKeys(ctx) }},
		{"routers sign with it", func(ctx context.Context, r *rotating) error {
			if err := r.use(ctx, ticketKeyFile); err != nil {
				return err
			}
			return r.everywhere(func(site Site, at Reached) error {
				if err := r.change(ctx, at.Nomad, routerVariable, map[string]string{"ticket_key": r.files[ticketKeyFile]}); err != nil {
					return err
				}
				return r.runs(ctx, site, at, "router")
			})
		}},
		{"an hour later, forget the old one", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, ticket.MaxWait); err != nil {
				return err
			}
			r.files[ticketKeysFile] = r.files[nextFile+ticketKeysFile]
			if err := r.save(ctx); err != nil {
				return err
			}
			return r.tellTicketKeys(ctx)
		}},
	},
}

// nodeTokens are the Consul tokens of nodes, which are the same at all sites.
var nodeTokens = func() []string {
	names := []string{provision.ConsulReplicationFile, provision.ConsulSeatFile, provision.ConsulDriverFile}
	for _, role := range provision.Roles() {
		names = append(names, string(role)+"-"+provision.ConsulAgentFile, string(role)+"-"+provision.ConsulNomadFile)
	}
	return shared(names...)
}()

// acceptConsul has Consul accept new tokens beside the old ones, at all sites.
func (r *rotating) acceptConsul(ctx context.Context, files ...string) error {
	primary := r.Reach(r.Outputs.Primary().Name).Consul
	for _, file := range files {
		if err := primary.CopyToken(ctx, r.trimmed(file), r.trimmed(nextFile+file)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return r.everywhere(func(site Site, at Reached) error {
		return r.until(ctx, site.Name, "Consul to copy the tokens", func(ctx context.Context) (string, error) {
			for _, file := range files {
				if has, err := at.Consul.HasToken(ctx, r.trimmed(nextFile+file)); err != nil || !has {
					return file, err
				}
			}
			return "", nil
		})
	})
}

// withdrawConsul deletes the old tokens.
func (r *rotating) withdrawConsul(ctx context.Context, files ...string) error {
	for _, file := range files {
		if old := r.trimmed(previousFile + file); old != "" && old != r.trimmed(file) {
			if err := r.Reach(r.Outputs.Primary().Name).Consul.DropToken(ctx, old, r.trimmed(managementFiles[0])); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

func newToken() (string, error) { return uuid.NewString() + "\n", nil }

var consulTokens = Rotation{
	Name: "consul-tokens", What: "the tokens by which agents, drivers, seats and the copies of access control are known to Consul",
	Meanwhile: "Nomad's agents restart once; tasks and sessions go on. The old tokens stay until the last seat that has one is over",
	steps: []rotationStep{
		{"make new tokens", func(ctx context.Context, r *rotating) error {
			makes := map[string]func() (string, error){}
			for _, file := range nodeTokens {
				makes[file] = newToken
			}
			return r.make(ctx, makes)
		}},
		{"Consul accepts them at all sites", func(ctx context.Context, r *rotating) error { return r.acceptConsul(ctx, nodeTokens...) }},
		{"nodes get them", func(ctx context.Context, r *rotating) error { return r.use(ctx, nodeTokens...) }},
		{"nodes use them", func(ctx context.Context, r *rotating) error { return r.told(ctx) }},
		{"the seats with old ones are over", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, 0); err != nil {
				return err
			}
			return r.everywhere(func(site Site, at Reached) error {
				return r.until(ctx, site.Name, "seats that began before", func(ctx context.Context) (string, error) {
					n, err := at.Nomad.SeatsBefore(ctx, r.state.Since)
					if err != nil || n == 0 {
						return "", err
					}
					return fmt.Sprintf("%d are there. The command may be ended, and run again later; idle seats end with: nomad job stop, of the child", n), nil
				})
			})
		}},
		{"Consul forgets the old ones", func(ctx context.Context, r *rotating) error { return r.withdrawConsul(ctx, nodeTokens...) }},
	},
}

var managementFiles = shared(provision.ConsulManagementFile, provision.NomadManagementFile)

var managementTokens = Rotation{
	Name: "management-tokens", What: "the tokens of operators and servers, which may do everything in Consul and Nomad",
	Meanwhile: "Agents of servers restart, one server after the other. Take the new tokens from the secrets afterwards",
	steps: []rotationStep{
		{"make new tokens", func(ctx context.Context, r *rotating) error {
			// The name is kept first: Nomad makes the secret, and a killed run has to find it again.
			const name = "management-name"
			if err := r.make(ctx, map[string]func() (string, error){name: func() (string, error) { return "nearcast-management-" + uuid.NewString()[:8], nil }}); err != nil {
				return err
			}
			return r.make(ctx, map[string]func() (string, error){
				managementFiles[0]: newToken,
				managementFiles[1]: func() (string, error) {
					secret, err := r.Reach(r.Outputs.Primary().Name).Nomad.ManagementToken(ctx, r.files[nextFile+name])
					return secret + "\n", err
				},
			})
		}},
		{"Consul and Nomad accept them at all sites", func(ctx context.Context, r *rotating) error {
			if err := r.acceptConsul(ctx, managementFiles[0]); err != nil {
				return err
			}
			return r.everywhere(func(site Site, at Reached) error {
				return r.until(ctx, site.Name, "Nomad to copy the token", func(ctx context.Context) (string, error) {
					if has, err := at.Nomad.HasToken(ctx, r.trimmed(nextFile+managementFiles[1])); err != nil || !has {
						return "it is not there yet", err
					}
					return "", nil
				})
			})
		}},
		{"servers get them", func(ctx context.Context, r *rotating) error { return r.use(ctx, managementFiles...) }},
		{"servers use them", func(ctx context.Context, r *rotating) error { return r.told(ctx) }},
		{"Nomad and Consul forget the old ones", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, 0); err != nil {
				return err
			}
			if old := r.trimmed(previousFile + managementFiles[1]); old != "" && old != r.trimmed(managementFiles[1]) {
				if err := r.Reach(r.Outputs.Primary().Name).Nomad.DropToken(ctx, old, r.trimmed(managementFiles[1])); err != nil {
					return err
				}
			}
			r.end() // what follows takes this command's own right to say so
			return r.withdrawConsul(ctx, managementFiles[0])
		}},
	},
}

const nodeKeyFile, alsoFile = "node-key.pem", "node-key.also.pem"

// acceptNodeKeys has Nomad accept the key that is used, and these beside it.
func (r *rotating) acceptNodeKeys(ctx context.Context, also ...string) error {
	own, err := secrets.PublicNodeKey(r.files[nodeKeyFile])
	if err != nil {
		return err
	}
	return r.Reach(r.Outputs.Primary().Name).Nomad.NodeKeys(ctx, append([]string{own}, also...))
}

var nodeKey = Rotation{
	Name: "node-key", What: "the key that signs the statements with which nodes log in to Nomad", Meanwhile: "Nobody notices anything",
	steps: []rotationStep{
		{"make a new key", func(ctx context.Context, r *rotating) error {
			return r.make(ctx, map[string]func() (string, error){nodeKeyFile: secrets.NodeKey})
		}},
		{"servers know its public half", func(ctx context.Context, r *rotating) (err error) {
			if r.files[alsoFile], err = secrets.PublicNodeKey(r.files[nextFile+nodeKeyFile]); err != nil {
				return err
			}
			if err := r.save(ctx); err != nil {
				return err
			}
			return r.told(ctx)
		}},
		{"Nomad accepts statements of both", func(ctx context.Context, r *rotating) error { return r.acceptNodeKeys(ctx, r.files[alsoFile]) }},
		{"nodes have statements of the new one", func(ctx context.Context, r *rotating) (err error) {
			if err := r.use(ctx, nodeKeyFile); err != nil {
				return err
			}
			if r.files[alsoFile], err = secrets.PublicNodeKey(r.files[previousFile+nodeKeyFile]); err != nil {
				return err
			}
			if err := r.save(ctx); err != nil {
				return err
			}
			return r.told(ctx)
		}},
		{"Nomad forgets the old one", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, 0); err != nil {
				return err
			}
			delete(r.files, alsoFile)
			if err := r.save(ctx); err != nil {
				return err
			}
			// Servers first: at its start each tells Nomad of the keys that it has.
			if err := r.told(ctx); err != nil {
				return err
			}
			return r.acceptNodeKeys(ctx)
		}},
	},
}

const caFile, caKeyFile = "ca.pem", "ca-key.pem"

var authority = Rotation{
	Name: "authority", What: "the authority of the certificates between agents, and with it all of these certificates", Meanwhile: "Agents reload; nobody notices anything",
	steps: []rotationStep{
		{"make a new authority", func(ctx context.Context, r *rotating) error {
			if r.files[nextFile+caKeyFile] == "" {
				cert, key, err := secrets.Authority(r.now())
				if err != nil {
					return err
				}
				r.files[nextFile+caFile], r.files[nextFile+caKeyFile] = cert, key
			}
			return r.save(ctx)
		}},
		{"nodes trust both", func(ctx context.Context, r *rotating) error {
			if next := r.files[nextFile+caFile]; !strings.Contains(r.files[caFile], next) {
				r.files[caFile] += next
			}
			if err := r.save(ctx); err != nil {
				return err
			}
			return r.told(ctx)
		}},
		{"nodes have certificates of the new one", func(ctx context.Context, r *rotating) error {
			if err := r.use(ctx, caKeyFile); err != nil {
				return err
			}
			return r.told(ctx)
		}},
		{"nodes trust the new one alone", func(ctx context.Context, r *rotating) error {
			if err := r.overlap(ctx, 0); err != nil {
				return err
			}
			r.files[caFile] = r.files[nextFile+caFile]
			if err := r.save(ctx); err != nil {
				return err
			}
			return r.told(ctx)
		}},
	},
}

// relayNames is for how long a name for TURN is good, and a margin for clocks.
const relayNames = 15 * time.Minute
