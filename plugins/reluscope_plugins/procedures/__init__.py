"""Procedures: what a recipe can run."""

from __future__ import annotations

from reluscope.entries import Procedure
from reluscope.hookspecs import hookimpl

TRAINING_GROUPS = {
    "data": "samples of each split and class, class names, normalisation constants",
    "epoch": "loss and accuracy of each split, the learning rate and the metrics, after each epoch",
    "step": "the learning rate and the loss of the batch, at each optimizer step",
    "every_k_epochs": "metrics measured every k epochs",
    "every_k_steps": "metrics measured every k optimizer steps (every_step where k is 1)",
    "chosen_steps": "metrics measured at chosen optimizer steps (and at the ends of chosen epochs)",
    "chosen_epochs": "metrics measured at chosen epochs",
}
"""The groups that every procedure writes that trains."""


@hookimpl
def reluscope_procedures() -> list[Procedure]:
    """Return the built-in procedures."""
    return [
        Procedure(
            name="best_epoch",
            summary="Train a classifier, and repeat what was measured at the epoch of least loss.",
            definition="reluscope_plugins.procedures.best_epoch:best_epoch",
            metrics=("loss", "accuracy"),
            groups={
                "best_epoch": "the variables of the group epoch at the epoch of least loss, and which epoch that was",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="cells",
            summary="Count and draw the activation cells of a plane, before training and while a network learns.",
            definition="reluscope_plugins.procedures.cells:cells",
            metrics=("loss", "accuracy"),
            groups={
                "cells": "number of cells on the grid, of each site and of all together, every k epochs",
                "pictures": "colours of the cells at chosen epochs, and the points that are marked",
                "limits": "cells of the first site before training, beside those of lines in general position",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="drawn_weights",
            summary="Draw weights over an interval in a number system, beside the formulas of mean and variance.",
            definition="reluscope_plugins.procedures.drawn_weights:drawn_weights",
            groups={"curves": "exponent, probability, mean, variance and relative deviation of each weight"},
        ),
        Procedure(
            name="fit",
            summary="Fit a classifier that needs no training, and measure its accuracy.",
            definition="reluscope_plugins.procedures.fit:fit",
            groups={"fit": "accuracy of each split"},
        ),
        Procedure(
            name="local_slope",
            summary="Measure how the slope changes with the distance from training samples, while a network learns.",
            definition="reluscope_plugins.procedures.local_slope:local_slope",
            metrics=("loss", "accuracy"),
            groups={
                "local_slope": "mean relative change of the slope at each radius, at chosen epochs",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="monomial_error",
            summary="Measure how far a network of gates is from the product that it stands for.",
            definition="reluscope_plugins.procedures.monomial_error:monomial_error",
            groups={"monomial_error": "error at random inputs, number of units and of hidden layers"},
        ),
        Procedure(
            name="quantisation_errors",
            summary="Measure at each position of an image how far layers in a number system are from floating point.",
            definition="reluscope_plugins.procedures.quantisation_errors:quantisation_errors",
            groups={
                "errors": "absolute and relative error at each position of each layer",
                "pictures": "colours of the image, and of the pixels that attention refines",
            },
        ),
        Procedure(
            name="quantise",
            summary="Run a trained network in a number system: accuracy at several numbers of samples, and cost.",
            definition="reluscope_plugins.procedures.quantise:quantise",
            metrics=("loss", "accuracy"),
            groups={
                "quantise": "accuracy in floating point; accuracy and cost at each number of samples",
                "cost": "operations of one sample and bits of the weights, of each layer, beside floating point",
                "saturation": "share of each layer's inputs that lay beyond the number system of activations",
                "attention": "accuracies, refined share and sampled operations of attention, where it is asked for",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="region_differences",
            summary="Measure how much singular values differ between regions, in freshly drawn networks.",
            definition="reluscope_plugins.procedures.region_differences:region_differences",
            groups={
                "differences": "mean squared difference of the singular values, beside its bounds",
                "pairs": "the same of each pair of regions, and the distances between them",
            },
        ),
        Procedure(
            name="relearning",
            summary="Perturb a network, teach it a sawtooth, and count its pieces as it learns.",
            definition="reluscope_plugins.procedures.relearning:relearning",
            groups={"relearning": "number of pieces and mean squared error, every k steps"},
        ),
        Procedure(
            name="sample_by_sample",
            summary="Measure training samples one by one while a network learns, with wrong labels and without.",
            definition="reluscope_plugins.procedures.sample_by_sample:sample_by_sample",
            metrics=("loss", "accuracy"),
            groups={
                "samples": "the metrics of each sample, its label and whether that is wrong, at chosen epochs",
                "detection": "how well each metric tells wrong labels from right ones: AUROC and its interval",
                "histogram": "share of the samples in each bin of the first metric, by whether their label is wrong",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="train",
            summary="Train a classifier and measure it as it learns.",
            definition="reluscope_plugins.procedures.train:train",
            metrics=("loss", "accuracy"),
            groups=TRAINING_GROUPS,
        ),
    ]
