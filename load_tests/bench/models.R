# Boston's houses by three classes of models, as a package: Rscript models.R (rf|lm|ranger) DIR
arguments <- commandArgs(trailingOnly = TRUE)
kind <- arguments[[1]]
boston <- MASS::Boston

set.seed(20221101)
model <- switch(kind,
  rf = randomForest::randomForest(medv ~ ., data = boston, ntree = 100),
  lm = lm(medv ~ ., data = boston),
  ranger = ranger::ranger(medv ~ ., data = boston, num.trees = 100, num.threads = 1),
  stop("no such kind: ", kind)
)
scoregate::package_model(
  model,
  name = paste0("boston-", kind), version = "1", sample = boston, dir = arguments[[2]], quiet = TRUE
)
