written <- function(predict, files = NULL) {
  dir <- tempfile("package-")
  dir.create(dir)
  write_script(predict, files, dir)
  dir
}

test_that("a function is written so that its numbers keep every digit", {
  fun <- eval(substitute(function(model, newdata, by = b) newdata$x * a - 1e-300, list(a = 0.1 + 0.2, b = 1 / 3)))
  dir <- written(fun)
  again <- load_script(dir, "score.R")
  expect_true(identical(again(NULL, list(x = 1)), fun(NULL, list(x = 1)), num.eq = FALSE))
  expect_identical(formals(again), formals(fun))
})

test_that("a file that defines predict_model is taken as it is, and files it needs are sourced first, in its folder", {
  home <- new_folder()
  dir.create(home)
  saveRDS(7, file.path(home, "factor.rds"))
  writeLines("times <- readRDS(\"factor.rds\")", file.path(home, "times.R"))
  writeLines("predict_model <- function(model, newdata) newdata$x * times", file.path(home, "mine.R"))
  dir <- written(file.path(home, "mine.R"), file.path(home, c("times.R", "factor.rds")))
  expect_setequal(list.files(dir), c("score.R", "times.R", "factor.rds"))
  expect_identical(load_script(dir, list.files(dir))(NULL, list(x = 2)), 14)
})

test_that("a package's function, one of one argument and data inside code are refused with what to do", {
  expect_error(written(stats::predict), "wrap it")
  expect_error(written(function(model) 1), "function\\(model, newdata\\)")
  expect_error(written(eval(substitute(function(m, d) e, list(e = globalenv())))), "files=")
})

test_that("files must be there, and not take the package's own names", {
  expect_error(written(function(m, d) 1, "no/such/file.R"), "which is no file")
  own <- file.path(tempdir(), "score.R")
  writeLines("1", own)
  expect_error(written(function(m, d) 1, own), "names of their own")
})

test_that("score.R without predict_model is refused", {
  dir <- new_folder()
  dir.create(dir)
  writeLines("x <- 1", file.path(dir, "score.R"))
  expect_error(load_script(dir, "score.R"), "defines no predict_model")
})

test_that("names in code are its symbols and strings", {
  path <- file.path(tempdir(), "code.R")
  writeLines("f <- function(m, d) d$marker + d[[\"sleep ms\"]]", path)
  expect_true(all(c("marker", "sleep ms") %in% names_in_code(path)))
})
