package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/hoorn-phone/hoorn"

// pkg is what `go list` says about one package of the module. Its paths are
// relative to the module ("sip/offeranswer"; the root is ".") for packages of ours, whole for others.
type pkg struct {
	ImportPath   string
	Dir          string
	Imports      []string // of the package without its tests
	TestImports  []string
	XTestImports []string
	Deps         []string // all it is built from, without its tests
	GoFiles      []string
	CgoFiles     []string
	TestGoFiles  []string
	XTestGoFiles []string
	Standard     bool
}

// packages lists the module once, as `go list` sees it with cgo, so that no
// file hides behind a build tag for that. A package that does not build is listed all the same: the
// compiler says that better.
var packages = sync.OnceValues(func() (map[string]*pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,Deps,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles", module+"/...")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New("go list: " + err.Error() + ": " + stderr.String())
	}
	all := map[string]*pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		p.ImportPath = short(p.ImportPath)
		for _, list := range [][]string{p.Imports, p.TestImports, p.XTestImports, p.Deps} {
			for i := range list {
				list[i] = short(list[i])
			}
		}
		all[p.ImportPath] = p
	}
})

func load(t *testing.T) map[string]*pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("go list names only %d packages", len(all))
	}
	return all
}

// short makes a path of ours relative to the module; "./" marks it as ours.
func short(importPath string) string {
	if importPath == module {
		return "./"
	}
	if rest, ok := strings.CutPrefix(importPath, module+"/"); ok {
		return "./" + rest
	}
	return importPath
}

// match reports whether a path is one that a pattern means. A pattern ending in "/..."
// means the folder and all below it, "*" one element of a path, and "ours" every package of this module.
func match(pattern, p string) bool {
	if pattern == "ours" {
		return strings.HasPrefix(p, "./")
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return p == base || strings.HasPrefix(p, base+"/")
	}
	ok, err := path.Match(pattern, p)
	return err == nil && ok
}

func matchAny(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if match(pattern, p) {
			return true
		}
	}
	return false
}

// parseFiles parses files of a package, with their import names resolved by visit.
func parseFiles(t *testing.T, p *pkg, names []string, visit func(fset *token.FileSet, f *ast.File)) {
	t.Helper()
	for _, name := range names {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		visit(fset, f)
	}
}

// importName returns the name under which a file knows a package, or "" if it does not import it.
func importName(f *ast.File, importPath string) string {
	for _, i := range f.Imports {
		if strings.Trim(i.Path.Value, `"`) != importPath {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// uses calls report for each mention of a name of a package, such as time.Now.
func uses(f *ast.File, importPath string, names []string, report func(n ast.Node, name string)) {
	as := importName(f, importPath)
	if as == "" {
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || x.Name != as {
			return true
		}
		for _, name := range names {
			if sel.Sel.Name == name {
				report(n, importPath+"."+name)
			}
		}
		return true
	})
}
