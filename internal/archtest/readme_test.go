package archtest

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link     = regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)
	testName = regexp.MustCompile(`^(Test|Fuzz|Example|Benchmark)[A-Z_]`)
)

// TestReadmeLinks checks that what README links to is there, and that a link named after a test goes to the file that has it.
func TestReadmeLinks(t *testing.T) {
	text := readme(t)
	tests := 0
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		name, target := m[1], m[2]
		if strings.Contains(target, "://") {
			continue
		}
		path := filepath.Join(root, filepath.FromSlash(target))
		if _, err := os.Stat(path); err != nil {
			t.Errorf("[%s](%s): %v", name, target, err)
			continue
		}
		if !testName.MatchString(name) {
			continue
		}
		tests++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		if !declares(f, name) {
			t.Errorf("README names %s as a test in %s, which has none of that name", name, target)
		}
	}
	if tests < 20 {
		t.Errorf("README names only %d tests: is the pattern right?", tests)
	}
}

// TestReadmeRows checks that each row of what works names a test that shows it.
func TestReadmeRows(t *testing.T) {
	text := readme(t)
	_, table, ok := strings.Cut(text, "\n|---|---|\n")
	if !ok {
		t.Fatal("README has no table of what works")
	}
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows++
		shown := false
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			shown = shown || testName.MatchString(m[1])
		}
		if !shown {
			t.Errorf("no test shows this: %s", line)
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows: is the table where it is looked for?", rows)
	}
}

// TestReadmeCode compiles the program that README shows without its error handling.
func TestReadmeCode(t *testing.T) {
	text := readme(t)
	_, code, _ := strings.Cut(text, "\n```go\n")
	code, _, ok := strings.Cut(code, "```")
	if !ok {
		t.Fatal("README shows no code")
	}
	file := filepath.Join(t.TempDir(), "main.go")
	program := "package main\n\nimport (\n\t\"context\"\n\t\"os\"\n\n\t\"" + module + "/media\"\n\t\"" + module + "/sip\"\n)\n\n" +
		"func main() { _ = try(context.Background()) }\n\nfunc try(ctx context.Context) error {\n" + code + "\nreturn err\n}\n"
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	// The program pretends to be a package of this module.
	place, err := filepath.Abs(filepath.Join(root, "examples", "readme", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {place: file}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlayFile, "-o", os.DevNull, "./examples/readme")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("README's program does not compile: %v\n%s\n%s", err, out, program)
	}
}
