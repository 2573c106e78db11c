package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Every step of design/walks.md is a function that is there.
func TestWalks(t *testing.T) {
	text, err := os.ReadFile("../../design/walks.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile("`([a-z0-9_/]+\\.go)` `([A-Za-z0-9.]+)`").FindAllStringSubmatch(string(text), -1)
	if len(steps) < 40 {
		t.Fatalf("only %d steps found", len(steps))
	}
	for _, step := range steps {
		file, name := step[1], step[2]
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if !declares(f, name) {
			t.Errorf("%s has no %s", file, name)
		}
	}
}

// declares tells whether a file has a function, or a method as Type.Method.
func declares(f *ast.File, name string) bool {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		full := fn.Name.Name
		if fn.Recv != nil {
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				full = id.Name + "." + full
			}
		}
		if full == name {
			return true
		}
	}
	return false
}
