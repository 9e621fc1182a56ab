"""The methods: one file a family, one small pure function each, and the registry that lists them.

``methods.grad_cam`` is the function, ``methods.GradCAM`` the registered method: ``methods.GradCAM.source``, and with
settings ``methods.ScoreCAM(top=64)``.
"""

from __future__ import annotations

from limelight.methods.activation import cam, fem, lafam, random_cam
from limelight.methods.around import augmented, eigen_smoothed, forgrad, noise_tunnel
from limelight.methods.attention import (
    attention_rollout,
    gradient_attention_rollout,
    legrad,
    raw_attention,
    transformer_attribution,
)
from limelight.methods.backward import (
    contrastive_excitation,
    deconvolution,
    deep_lift,
    excitation_backprop,
    guided_backprop,
    guided_grad_cam,
    lrp_alpha2_beta1_flat,
    lrp_epsilon,
    lrp_epsilon_gamma_box,
    lrp_epsilon_plus,
)
from limelight.methods.compound import finer_cam, refine_cam, sess
from limelight.methods.dff import concepts_of, deep_feature_factorization
from limelight.methods.eigen import eigen_cam, eigen_grad_cam, kpca_cam, seg_eigen_cam
from limelight.methods.gradient import (
    element_wise_grad_cam,
    expected_grad_cam,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
    shapley_cam,
    smooth_grad_cam_pp,
    xgrad_cam,
)
from limelight.methods.input_gradient import (
    blur_integrated_gradients,
    expected_gradients,
    gradient_shap,
    guided_integrated_gradients,
    input_x_gradient,
    integrated_gradients,
    saliency,
    xrai,
)
from limelight.methods.layer_attribution import (
    conductance,
    internal_influence,
    layer_gradient_shap,
    layer_gradient_x_activation,
    layer_integrated_gradients,
)
from limelight.methods.noisy_gradient import smooth_grad, smooth_grad_squared, var_grad
from limelight.methods.optimised_mask import extremal_perturbation, meaningful_perturbation
from limelight.methods.perturbation import feature_ablation, occlusion, rise
from limelight.methods.registry import REGISTRY, Method, get, spelling
from limelight.methods.replay import ablation_cam, lift_cam, shap_cam
from limelight.methods.replay_input import group_cam, is_cam, opti_cam, score_cam, ss_cam
from limelight.methods.sampling import hsic, kernel_shap, lime, sobol
from limelight.methods.whole import full_grad, relevance_cam

__all__ = [
    "REGISTRY",
    "Method",
    "ablation_cam",
    "attention_rollout",
    "augmented",
    "blur_integrated_gradients",
    "cam",
    "concepts_of",
    "conductance",
    "contrastive_excitation",
    "deconvolution",
    "deep_feature_factorization",
    "deep_lift",
    "eigen_cam",
    "eigen_grad_cam",
    "eigen_smoothed",
    "element_wise_grad_cam",
    "excitation_backprop",
    "expected_grad_cam",
    "expected_gradients",
    "extremal_perturbation",
    "feature_ablation",
    "fem",
    "finer_cam",
    "forgrad",
    "full_grad",
    "get",
    "grad_cam",
    "grad_cam_pp",
    "gradient_attention_rollout",
    "gradient_shap",
    "group_cam",
    "guided_backprop",
    "guided_grad_cam",
    "guided_integrated_gradients",
    "hires_cam",
    "hsic",
    "input_x_gradient",
    "integrated_gradients",
    "internal_influence",
    "is_cam",
    "kernel_shap",
    "kpca_cam",
    "lafam",
    "layer_cam",
    "layer_gradient_shap",
    "layer_gradient_x_activation",
    "layer_integrated_gradients",
    "legrad",
    "lift_cam",
    "lime",
    "lrp_alpha2_beta1_flat",
    "lrp_epsilon",
    "lrp_epsilon_gamma_box",
    "lrp_epsilon_plus",
    "meaningful_perturbation",
    "noise_tunnel",
    "occlusion",
    "opti_cam",
    "random_cam",
    "raw_attention",
    "refine_cam",
    "relevance_cam",
    "rise",
    "saliency",
    "score_cam",
    "seg_eigen_cam",
    "sess",
    "shap_cam",
    "shapley_cam",
    "smooth_grad",
    "smooth_grad_cam_pp",
    "smooth_grad_squared",
    "sobol",
    "ss_cam",
    "transformer_attribution",
    "var_grad",
    "xgrad_cam",
    "xrai",
]


def __getattr__(name: str) -> Method:
    if name[:1].isupper() and spelling(name) in REGISTRY:
        return REGISTRY[spelling(name)]
    raise AttributeError(f"module 'limelight.methods' has no attribute {name!r}")
