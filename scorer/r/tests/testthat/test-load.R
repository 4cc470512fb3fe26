test_that("a loaded package has its manifest, its signature with levels as text, and predicts", {
  dir <- pack(lm(Petal.Width ~ Species, iris), iris, name = "petals")
  model <- load_model_package(dir)
  expect_s3_class(model, "scoregate_model")
  expect_identical(c(model$name, model$version, model$manifest$format), c("petals", "1", "scoregate.model/1"))
  expect_identical(model$signature$inputs[[1]]$levels, levels(iris$Species))
  expect_output(print(model), "petals 1: 1 inputs, prediction")
})

test_that("a folder without a manifest, or with one of another format, is refused with what to do", {
  dir <- new_folder()
  dir.create(dir)
  expect_error(load_model_package(dir), "there is no manifest.json")
  write_utf8("{\"format\": \"scoregate.model/9\"}", file.path(dir, "manifest.json"))
  expect_error(load_model_package(dir), "package the model again")
})

test_that("a file that is not the packaged one is named", {
  dir <- pack(lm(dist ~ speed, cars), cars)
  saveRDS(1, file.path(dir, "model.rds"))
  expect_error(load_model_package(dir), "model.rds .* sha256 differs")
  unlink(file.path(dir, "model.rds"))
  expect_error(load_model_package(dir), "model.rds .* is missing")
})

test_that("a missing package is named with how to install it, another version warns", {
  expect_error(attach_packages(list(noSuchPackage = "1.2")), "noSuchPackage 1.2, which this R does not have",
    class = "scoregate_missing_package")
  expect_warning(attach_packages(list(nnet = "0.1")), "packaged with 0.1")
})

test_that("versions are written as packages write them", {
  expect_identical(package_version_text("randomForest"), "4.7-1.1")
})
