skip_on_os(c("mac", "windows", "solaris"))

# The scripts want the package in a library, as in real life: the one it was loaded from, or a new one made from source.
library_of_tests <- function() {
  source <- getNamespaceInfo("scoregate", "path")
  if (!dir.exists(file.path(source, "inst"))) {
    return(dirname(source))
  }
  library <- tempfile("library-")
  dir.create(library)
  out <- system2(file.path(R.home("bin"), "R"), c("CMD", "INSTALL", "--no-docs", "--no-test-load", "-l",
    shQuote(library), shQuote(source)), stdout = TRUE, stderr = TRUE)
  if (!dir.exists(file.path(library, "scoregate"))) stop(paste(out, collapse = "\n"))
  library
}

run_script <- function(library, name, ...) {
  script <- file.path(library, "scoregate", "scripts", name)
  out <- suppressWarnings(system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(script), shQuote(c(...))),
    stdout = TRUE, stderr = TRUE, env = paste0("R_LIBS=", library)))
  list(status = c(attr(out, "status"), 0L)[1], said = paste(out, collapse = "\n"))
}

test_that("files become a package, and a package's answers for a file come out as a binary frame", {
  library <- library_of_tests()
  work <- new_folder()
  dir.create(work)
  path <- function(name) file.path(work, name)
  set.seed(1)
  fit <- randomForest::randomForest(Species ~ ., iris, ntree = 5)
  saveRDS(fit, path("fit.rds"))
  write.csv(iris, path("iris.csv"), row.names = FALSE)

  done <- run_script(library, "package.R", "--model", path("fit.rds"), "--sample", path("iris.csv"), "--name", "iris",
    "--version", "1", "--out", path("iris"), "--slim", "--description", "Flowers of 'three' kinds")
  expect_identical(done$status, 0L, info = done$said)
  expect_match(done$said, "batchable: yes")

  done <- run_script(library, "expected.R", path("iris"), path("iris.csv"), path("out.bin"))
  expect_identical(done$status, 0L, info = done$said)
  expected <- model_predict(fit, iris, list())
  out <- file(path("out.bin"), "rb")
  on.exit(close(out))
  expect_identical(readBin(out, "integer", 1L), 150L)
  expect_identical(readBin(out, "integer", 150L), as.integer(expected$class))
  for (level in levels(iris$Species)) {
    expect_identical(readBin(out, "double", 150L), expected[[paste0("prob.", level)]])
  }
  expect_length(readBin(out, "raw", 1L), 0L)

  frame <- file(path("in.bin"), "wb")
  writeBin(150L, frame)
  for (column in iris[1:4]) writeBin(column, frame)
  close(frame)
  done <- run_script(library, "expected.R", path("iris"), path("in.bin"), path("out2.bin"))
  expect_identical(done$status, 0L, info = done$said)
  expect_identical(file_sha256(path("out2.bin")), file_sha256(path("out.bin")))

  wrong <- run_script(library, "package.R", "--model", path("fit.rds"))
  expect_identical(wrong$status, 2L)
  expect_match(wrong$said, "Usage: --sample is missing")
  wrong <- run_script(library, "package.R", "--model", path("fit.rds"), "--sample", path("iris.csv"), "--name", "Iris",
    "--version", "1", "--out", path("iris2"))
  expect_identical(wrong$status, 1L)
  expect_match(wrong$said, "Error: the name \"Iris\" is not a model name")
})

test_that("arguments that cannot be used are told apart from models that cannot be packaged", {
  library <- library_of_tests()
  work <- new_folder()
  dir.create(work)
  path <- function(name) file.path(work, name)
  saveRDS(lm(dist ~ speed, cars), path("fit.rds"))
  saveRDS(sqrt, path("function.rds"))
  write.csv(cars, path("cars.csv"), row.names = FALSE)
  refused <- function(..., model = "fit.rds", status = 2L) {
    done <- run_script(library, "package.R", "--model", path(model), "--sample", path("cars.csv"), "--name", "cars",
      "--version", "1", "--out", path("out"), ...)
    expect_identical(done$status, status, info = done$said)
    expect_false(dir.exists(path("out")))
    done$said
  }
  expect_match(refused("--type", "speed=foo"), "Usage: the type \"foo\" of column speed is none: use double, integer")
  expect_match(refused("--type", "nox=double"), "Usage: a type is given for \"nox\".*its columns are \"speed\"")
  expect_match(refused("--option", "s"), "Usage: --option is written NAME=VALUE")
  expect_match(refused("--option", "s=1"), "Usage: an lm takes no option \"s\"")
  expect_match(refused("--interval", "foo"), "Usage: interval must be")
  expect_match(refused("--level", "5"), "Usage: level= is that of an interval")
  expect_match(refused("--interval", "prediction", "--level", "5"), "Usage: level must be a number between 0 and 1")
  expect_match(refused("--input", "nox"), "Usage: inputs names \"nox\"")
  expect_match(refused("--predict", path("none.R")), "Usage: predict must be")
  expect_match(refused(model = "function.rds"), "Usage: .*holds a function")
  expect_match(refused(model = "cars.csv"), "Usage: .*cars.csv is not a file that saveRDS\\(\\) wrote")
  writeLines("predict_model <- function(model, newdata) stop(\"not today\")", path("bad.R"))
  expect_match(refused("--predict", path("bad.R"), status = 1L), "Error: the model cannot score its own sample: not to")
})
