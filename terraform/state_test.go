package terraform_test

import "strings"

// state is what a run of a test, or an apply, made.
type state struct {
	Root stateModule `json:"root_module"`
}

type stateModule struct {
	Resources []stateResource `json:"resources"`
	Children  []stateModule   `json:"child_modules"`
}

type stateResource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Values  map[string]any `json:"values"`
}

// managed returns the resources of a state.
func (s *state) managed() (all []stateResource) {
	var walk func(stateModule)
	walk = func(m stateModule) {
		for _, r := range m.Resources {
			if r.Mode == "managed" {
				all = append(all, r)
			}
		}
		for _, child := range m.Children {
			walk(child)
		}
	}
	walk(s.Root)
	return all
}

// policies names the policies of a state: "SITE ROLE" and replication for the rights of a role,
// with " (trust)" for who may take the role, and "bucket NAME" for a bucket's.
func (s *state) policies() map[string]document {
	found := map[string]document{}
	for _, r := range s.managed() {
		text := func(name string) string { v, _ := r.Values[name].(string); return v }
		name := "replication"
		if site := between(r.Address, `module.region["`, `"]`); site != "" {
			role := strings.TrimPrefix(r.Address, `module.region["`+site+`"].module.`)
			role, _, _ = strings.Cut(role, ".aws_")
			name = site + " " + strings.NewReplacer(`["`, "-", `"]`, "").Replace(role)
		}
		switch r.Type {
		case "aws_iam_role_policy":
			found[name] = document{"identity", text("policy")}
		case "aws_iam_role":
			found[name+" (trust)"] = document{"trust", text("assume_role_policy")}
		case "aws_s3_bucket_policy":
			found["bucket "+text("bucket")] = document{"bucket", text("policy")}
		}
	}
	return found
}
