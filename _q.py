import numpy as np, time, sys, tempfile
from pathlib import Path
from tests.rigs.calibration.installations import *
from models.artifacts import load_backbone
from models.localizer import Localizer
from pipeline.calibration.fitting import *
from pipeline.calibration.scenes import open_scenes, SceneModel
from pipeline.evaluation.estimators import localizer_estimator
from pipeline.evaluation.predictions import run_estimator, evaluate_predictions
from pipeline.evaluation.metrics import metrics_config
import argparse
ap=argparse.ArgumentParser(); ap.add_argument('--phase',type=float,default=.3); ap.add_argument('--dead',type=float,default=.05); ap.add_argument('--n',type=int,default=20); ap.add_argument('--seed',type=int,default=1); ap.add_argument('--test',type=int,default=100); ap.add_argument('--amp',type=float,nargs=2,default=(1,1)); ap.add_argument('--codebook',default='dft'); ap.add_argument('--spread',type=float,default=0)
o=ap.parse_args()
draw=SceneDraw(codebook=o.codebook,power_spread_db=o.spread)
inst=draw_installation(np.random.default_rng((o.seed,99)),Errors(o.phase,o.dead,tuple(o.amp)))
g0=inst.element_response
cal=draw_scenes((o.seed,1),o.n,inst,draw)
bb=load_backbone(Path('models/weights/backbone.keras')); sc=bb.scenario
d=tempfile.mkdtemp(); p=Path(d)/'m.npz'; np.savez(p,**{k:cal[k] for k in INPUTS})
t0=time.time()
files=open_scenes([p],144); model=SceneModel(bb,16)
def prog(name,n):
    print('%.1fs'%(time.time()-t0),name,n,flush=True); return lambda _:None
def err(g):
    a=np.vdot(g,g0)/np.vdot(g,g); return np.sqrt(np.mean(abs(a*g-g0)**2)/np.mean(abs(g0)**2))
keep=lambda s: print('   err %.4f'%err(s.response),s.prior,flush=True)
fit=Fit(model,files,{},FitConfig(),FitState(np.ones(144,complex)),progress=prog,keep=keep)
r=fit.run()
print('%.1fs'%(time.time()-t0),'passes',r.passes,'held gain',r.held_gain,'err %.4f'%err(r.last.response),r.prior)
g=r.last.response
ev=r.last.everything(); sol=solve(ev,g,r.prior)
print('crb rms %.4f'%np.sqrt(np.mean(sol.deviation**2)),'determined',sol.determined,'score norm',np.linalg.norm(sol.step))
w=np.linalg.eigvalsh(ev.information); print(w[:8].round(2),w[-1])
if o.test:
    test=draw_scenes((o.seed,2),o.test,inst,draw)
    est=localizer_estimator(Localizer(bb))
    for name,gg in (('not told',np.ones(144)),('calibrated',g),('told',g0)):
        bs=[{k:v[i:i+20] for k,v in test.items()} for i in range(0,o.test,20)]
        bs=[{**b,'ris_codes':(b['ris_codes']*gg).astype(np.complex64)} for b in bs]
        e=evaluate_predictions(run_estimator(est,bs,o.test,show_progress=False),metrics_config(sc))
        print(name,'F1 %.4f rmse %.3f'%(e.standard.total().f1,e.standard.total().rmse_xyz_m),flush=True)
