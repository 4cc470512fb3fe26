# A model of a class, about as large as asked or a toy of it, as a package: Rscript memory.R CLASS (large|toy) DIR
# Prints the model's bytes, serialised.
arguments <- commandArgs(trailingOnly = TRUE)
kind <- arguments[[1]]
large <- arguments[[2]] == "large"

rows_of <- function(n) {
  set.seed(1)
  rows <- as.data.frame(matrix(rnorm(n * 10), n, dimnames = list(NULL, paste0("x", 1:10))))
  rows$y <- rows$x1 + rows$x2 * rows$x3 + sin(rows$x4) + rnorm(n) / 2
  rows
}
pick <- function(if_large, if_toy) if (large) if_large else if_toy

predict <- NULL
rows <- rows_of(500)
model <- switch(kind,
  lm = lm(y ~ ., rows_of(pick(960000, 500))),
  glm = glm(y ~ ., data = rows_of(pick(600000, 500))),
  ranger = ranger::ranger(y ~ ., rows_of(pick(4000, 500)), num.trees = pick(2500, 5), num.threads = 2),
  randomForest = randomForest::randomForest(y ~ ., rows_of(pick(4000, 500)), ntree = pick(2200, 5)),
  rpart = {
    predict <- function(model, newdata) Reduce(`+`, lapply(model, stats::predict, newdata = newdata)) / length(model)
    train <- rows_of(pick(320000, 500))
    fits <- lapply(1:2, function(i) {
      rpart::rpart(y ~ ., train[sample(nrow(train), replace = TRUE), ], cp = 0.004, xval = 0, model = TRUE)
    })
    rep(fits, pick(3, 1)) # each of them its own once it has been saved and read
  },
  gbm = {
    fit <- gbm::gbm(y ~ ., "gaussian", rows_of(pick(4000, 500)), n.trees = 1000, interaction.depth = 49, n.cores = 1)
    times <- pick(28, 1)
    fit$trees <- rep(fit$trees, times)
    fit$n.trees <- fit$params$n.trees <- 1000 * times
    fit
  },
  gam = mgcv::gam(y ~ s(x1, k = 5) + s(x2, k = 5) + x3, data = rows_of(pick(2080000, 500))),
  stop("no such class: ", kind)
)
packages <- if (kind %in% "rpart") "rpart"
scoregate::package_model(
  model,
  name = "bench", version = "1", sample = rows[, c(paste0("x", 1:10), "y")], dir = arguments[[3]], predict = predict,
  packages = packages, inputs = NULL, quiet = TRUE
)
cat(length(serialize(model, NULL)), "\n")
