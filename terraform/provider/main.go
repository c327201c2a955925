// Command provider builds Terraform's AWS provider for TestApply, with the services that the
// modules of terraform/ use. The whole provider has more than 250 services.
//
//	go run ./terraform/provider bin/terraform-provider-aws
//
// The source is a fork in the Go module proxy, at release 6.34.0 of hashicorp/terraform-provider-aws
// with accessors for Crossplane. The original has no version above 1.60 that a module may name: its
// major version is not in its module path. The checksum is below, because the public checksum database
// did not have it. Two generated files that list all services are replaced by shorter ones in a copy;
// everything else is as it was published. The provider is under the Mozilla Public License 2.0, with its
// source in the module proxy. What is built here is for this test, and is part of no release.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	module  = "github.com/upbound/terraform-provider-aws"
	version = "v0.0.0-20260305123303-f7691456b787"
	sum     = "h1:dJlp2eNgY/iVKTPINdguYlHbHc9CtXBZKmQmqYq0REs="

	listed  = "internal/provider/sdkv2/service_packages_gen.go"
	clients = "internal/conns/awsclient_gen.go"
)

// services are those of the resources and data sources of the modules, meta, which has aws_partition,
// and s3control, which S3 asks for tags.
var services = []string{
	"acm", "autoscaling", "cloudwatch", "ec2", "elbv2", "iam", "meta", "route53", "s3", "s3control",
	"secretsmanager", "sns", "ssm", "sts",
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		log.Fatal("usage: go run ./terraform/provider FILE (builds the AWS provider of TestApply; see the package's comment)")
	}
	if err := build(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func build(to string) error {
	start := time.Now()
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "terraform-provider-aws-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	dir, err := download(temp)
	if err != nil {
		return fmt.Errorf("download %s@%s: %w", module, version, err)
	}
	needed, err := closure(dir)
	if err != nil {
		return fmt.Errorf("read the provider's services: %w", err)
	}
	source := filepath.Join(temp, "source")
	if err := copySource(dir, source, needed.services); err != nil {
		return fmt.Errorf("copy the provider's source: %w", err)
	}
	for file, shorten := range map[string]func([]byte) []byte{
		listed:  func(src []byte) []byte { return keepServices(src, services) },
		clients: func(src []byte) []byte { return keepClients(src, needed.clients) },
	} {
		file = filepath.Join(source, file)
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, shorten(src), 0o600); err != nil {
			return err
		}
	}
	log.Printf("building %s with %d services, and %d that these need", filepath.Base(to), len(services), len(needed.services)-len(services))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the provider: %w", err)
	}
	log.Printf("built in %.0f s", time.Since(start).Seconds())
	return nil
}

// download returns the folder of the module's source.
func download(temp string) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir = temp // outside any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GONOSUMDB="+module)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if json.Unmarshal(out, &got) == nil && got.Error != "" {
		return "", fmt.Errorf("%s", got.Error)
	}
	if err != nil {
		return "", err
	}
	if got.Sum != sum {
		return "", fmt.Errorf("its checksum is %s; want %s", got.Sum, sum)
	}
	return got.Dir, nil
}

// copySource copies what is built: the cache of modules is read-only.
func copySource(from, to string, services []string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			top, below, _ := strings.Cut(filepath.ToSlash(name), "/")
			service, isService := strings.CutPrefix(below, "service/")
			if slices.Contains([]string{"docs", "examples", "website", "infrastructure"}, top) ||
				isService && !strings.Contains(service, "/") && !slices.Contains(services, service) {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	})
}

// need is what the services need: services, and methods of the client that make SDK clients.
type need struct{ services, clients []string }

var (
	importsService = regexp.MustCompile(`"github\.com/hashicorp/terraform-provider-aws/internal/service/([a-z0-9]+)["/]`)
	usesClient     = regexp.MustCompile(`\.([A-Z][A-Za-z0-9]*Client)\(`)
)

// closure follows the imports between services.
func closure(dir string) (need, error) {
	n := need{services: slices.Clone(services)}
	visit := func(folder string, skip ...string) error {
		return filepath.WalkDir(filepath.Join(dir, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if slices.Contains(skip, d.Name()) {
					return fs.SkipDir
				}
				return nil
			}
			if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == filepath.Base(listed) {
				return nil
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range importsService.FindAllSubmatch(src, -1) {
				if s := string(m[1]); !slices.Contains(n.services, s) {
					n.services = append(n.services, s)
				}
			}
			for _, m := range usesClient.FindAllSubmatch(src, -1) {
				if c := string(m[1]); !slices.Contains(n.clients, c) {
					n.clients = append(n.clients, c)
				}
			}
			return nil
		})
	}
	if err := visit("internal", "service", "acctest", "sweep", "generate"); err != nil {
		return n, err
	}
	for i := 0; i < len(n.services); i++ { // visit adds to it
		if err := visit("internal/service/" + n.services[i]); err != nil {
			return n, err
		}
	}
	return n, nil
}

// keepServices removes the import and the entry of each other service.
func keepServices(src []byte, keep []string) []byte {
	entry := regexp.MustCompile(`^\t\t([a-z0-9]+)\.ServicePackage\(ctx\),`)
	var out bytes.Buffer
	for line := range bytes.Lines(src) {
		m := importsService.FindSubmatch(line)
		if m == nil {
			m = entry.FindSubmatch(line)
		}
		if m == nil || slices.Contains(keep, string(m[1])) {
			out.Write(line)
		}
	}
	return out.Bytes()
}

// keepClients removes each other method, and the imports that then are not used.
func keepClients(src []byte, keep []string) []byte {
	method := regexp.MustCompile(`(?ms)^func \(c \*AWSClient\) ([A-Za-z0-9]+)\(.*?^}\n`)
	src = method.ReplaceAllFunc(src, func(f []byte) []byte {
		if slices.Contains(keep, string(method.FindSubmatch(f)[1])) {
			return f
		}
		return nil
	})
	sdk := regexp.MustCompile(`(?m)^\t(?:([a-z0-9_]+) )?"github\.com/aws/aws-sdk-go-v2/service/([a-z0-9]+)"\n`)
	return sdk.ReplaceAllFunc(src, func(line []byte) []byte {
		m := sdk.FindSubmatch(line)
		name := m[1]
		if len(name) == 0 {
			name = m[2]
		}
		if regexp.MustCompile(`\b` + string(name) + `\.[A-Z]`).Match(src) {
			return line
		}
		return nil
	})
}
