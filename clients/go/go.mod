module unhang

go 1.19
