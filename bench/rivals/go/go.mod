module rivals

go 1.24
