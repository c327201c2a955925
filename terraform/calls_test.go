package terraform_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

// Rights whose requests no Go code of nodes makes.
var otherwise = map[string]string{
	"ec2:DescribeInstances":  "Consul's retry_join",
	"s3:GetObjectVersion":    "user data, and content by version: a GetObject with a version",
	"ssm":                    "the Session Manager agent",
	"ssmmessages":            "the Session Manager agent",
	"s3:GetReplicationConfi": "S3 itself",
	"s3:GetObjectVersionFor": "S3 itself",
	"s3:GetObjectVersionAcl": "S3 itself",
	"s3:GetObjectVersionTag": "S3 itself",
	"s3:Replicate":           "S3 itself",
}

// IAM's name of a request, where it is not the request's own.
var iamNames = map[string]string{"s3:HeadObject": "s3:GetObject", "s3:ListObjectsV2": "s3:ListBucket"}

// What no node runs: operators, publishers, tests.
var notOnNodes = []string{"bench", "bin", "cloud", "dev", "e2e", "internal/publish", "internal/testkit", "provision/awsapi/awstest", "provision/nodetest", "terraform", "web"}

// Each request to AWS that the code of nodes can make, or has made of the stand-in for AWS in a test, has a line
// in rights, and each right has code that uses it: a new call fails here, before it fails on a node.
func TestRightsAreThoseOfTheCode(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/nomad-autoscaler").Output()
	if err != nil {
		t.Fatalf("find the autoscaler's source: %v", err)
	}
	asg := filepath.Join(strings.TrimSpace(string(out)), "plugins", "builtin", "target", "aws-asg")
	calls := map[string]string{}
	for _, folder := range []string{"..", asg} {
		sdkCalls(t, folder, calls)
	}
	granted := map[string]bool{}
	for _, lines := range rights {
		for _, line := range lines {
			granted[strings.Fields(line)[0]] = true
		}
	}
	for action, file := range calls {
		if !granted[action] {
			t.Errorf("%s makes a request for which no role has the right %s: add it to a policy in modules, and to rights", file, action)
		}
	}
	for _, action := range awstest.Calls {
		if !granted[action] {
			t.Errorf("a node made the request %s in the tests, for which no role has the right", action)
		}
	}
	for action := range granted {
		_, made := calls[action]
		for prefix := range otherwise {
			made = made || strings.HasPrefix(action, prefix)
		}
		if !made {
			t.Errorf("no code of nodes uses the right %s", action)
		}
	}
	t.Logf("%d kinds of requests", len(calls))
}

// sdkCalls finds the inputs of requests that Go files below a folder make.
func sdkCalls(t *testing.T, folder string, calls map[string]string) {
	t.Helper()
	const sdk = "github.com/aws/aws-sdk-go-v2/service/"
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(folder, path)
		if d.IsDir() {
			if folder == ".." && (slices.Contains(notOnNodes, filepath.ToSlash(name)) || strings.HasPrefix(d.Name(), ".") && name != ".") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		services := map[string]string{}
		for _, i := range file.Imports {
			if service, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), sdk); ok {
				local := service
				if i.Name != nil {
					local = i.Name.Name
				}
				services[local] = service
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			made, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if of, ok := made.Type.(*ast.SelectorExpr); ok {
				local, _ := of.X.(*ast.Ident)
				if request, isInput := strings.CutSuffix(of.Sel.Name, "Input"); isInput && local != nil && services[local.Name] != "" {
					action := services[local.Name] + ":" + request
					if other := iamNames[action]; other != "" {
						action = other
					}
					calls[action] = path
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
