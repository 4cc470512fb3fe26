# train (caret): a regression's value; a classification's class and, with classProbs = TRUE, the probabilities. Rows
# with missing values are left out where the model was trained with a formula. The packages of the model inside are
# loaded by name, so they are recorded.

# Whose class predict() draws at random among equal (or nearly equal) votes, and whose probabilities need no classProbs.
caret_ties <- c("rf", "parRF", "knn", "nnet", "pcaNNet", "multinom", "lda", "qda", "polr")
# The same, without.
caret_ties_only <- c("ranger", "Rborist", "avNNet", "kknn", "lda2")

model_predict.train <- function(model, newdata, options) {
  if (is.null(model$terms)) newdata <- newdata[model_inputs(model)]
  if (identical(model$modelType, "Regression")) {
    return(as.vector(stats::predict(model, newdata, type = "raw")))
  }
  levels <- levels(model)
  class <- function() factor(as.character(stats::predict(model, newdata, type = "raw")), levels = levels)
  if (!train_has_probabilities(model)) {
    return(class())
  }
  probabilities <- unname(as.matrix(stats::predict(model, newdata, type = "prob")[levels]))
  ties <- model$method %in% c(caret_ties, caret_ties_only)
  class_and_probabilities(probabilities, levels, if (!ties) class())
}

train_has_probabilities <- function(model) {
  is.function(model$modelInfo$prob) && (isTRUE(model$control$classProbs) || model$method %in% caret_ties)
}

model_options.train <- function(model, options) {
  refuse_options(options, "a train answers its value, or its class and, with classProbs, probabilities")
}

model_inputs.train <- function(model) {
  if (!is.null(model$terms)) {
    return(terms_inputs(model$terms))
  }
  if (is.null(model$trainingData)) model$finalModel$xNames else setdiff(names(model$trainingData), ".outcome")
}

model_levels.train <- function(model, sample) {
  known <- as.list(model$xlevels)
  refuse_text(setdiff(text_inputs(model, sample), names(known)), "train")
  known
}

model_packages.train <- function(model) {
  unique(c("caret", model$modelInfo$library))
}

model_tie_breaker.train <- function(model) {
  if (identical(model$modelType, "Classification") && !train_has_probabilities(model) &&
        model$method %in% caret_ties_only) {
    "equal votes are decided at random (not so with trainControl(classProbs = TRUE), by the first maximum)"
  }
}

model_slim.train <- function(model) {
  slim <- drop_parts(model, c("resample", "resampledCM", "pred"))
  slim$control[c("index", "indexOut", "indexFinal", "seeds")] <- NULL
  if (!is.null(slim$trainingData)) slim$trainingData <- slim$trainingData[0L, , drop = FALSE]
  slim
}
